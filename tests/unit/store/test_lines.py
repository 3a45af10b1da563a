from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.recording import spool
from orchwatch.store import spans
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(**changes: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": "b7ad6b7169203331",
        "name": "state.query",
        "kind": 1,
        "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000000025000000",
        "attributes": [
            {"key": "orchestration.operation.name", "value": {"stringValue": "state.query"}}
        ],
        "status": {"code": 1},
        **changes,
    }


def line(*found: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}).encode() + b"\n"


def read(home: Path, content: bytes) -> tuple[int, int]:
    """How many spans and how many unreadable things an open segment of that content holds."""
    path = home / "spool" / "operations-000001.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with Store(home) as store:
        return spans.totals(store).get("operations", 0), sum(store.unreadable().values())


UNREADABLE = {
    "text": b"no JSON at all\n",
    "a half of a line": line(span())[:40] + b"\n",
    "two lines glued": line(span()).strip() + line(span()),
    "no object": b"5\n",
    "a list": b"[1]\n",
    "null": b"null\n",
    "no list of spans": b'{"resourceSpans": 5}\n',
    "another document": b'{"hello": "world"}\n',
    "raw control characters": b"a\x00b\x01\n",
    "a span that is none": line(None),
    "no trace id": line(span(traceId=None)),
    "a short trace id": line(span(traceId="0af765")),
    "no hexadecimal span id": line(span(spanId="zzzzzzzzzzzzzzzz")),
    "no end": line(span(endTimeUnixNano=None)),
    "a time beyond all": line(span(endTimeUnixNano="99999999999999999999")),
    "times without a difference": line(
        span(startTimeUnixNano="-9223372036854775808", endTimeUnixNano="9223372036854775807")
    ),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_line_is_counted_and_takes_no_other_with_it(
    home: Path, content: bytes
) -> None:
    assert read(home, line(span()) + content + line(span())) == (2, 1)


HARMLESS = {
    "a header": b'{"orchwatch":{"segment":"x","id":"y"},"resourceSpans":[]}\n',
    "blank lines": b"\n \t\r\n\n",
    "no scopes": b'{"resourceSpans":[{}]}\n',
    "no spans": line(),
}


@pytest.mark.parametrize("content", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_line_without_spans_is_no_loss(home: Path, content: bytes) -> None:
    assert read(home, content + line(span())) == (1, 0)


READABLE = {
    "times as numbers": line(
        span(startTimeUnixNano=1790000000000000000, endTimeUnixNano=1790000000025000000)
    ),
    "unknown fields": line(span(flags=257, droppedAttributesCount=3, somethingNew={"a": [1]})),
    "no attributes, no status": line(span(attributes=None, status=None)),
    "attributes of another type": line(span(attributes="none")),
    "a value that is null": line(span(attributes=[{"key": "a", "value": None}])),
    "a repeated attribute": line(span(attributes=[{"key": "a", "value": {"intValue": 1}}] * 2)),
    "an empty parent": line(span(parentSpanId="")),
    "a carriage return": line(span()).replace(b"\n", b"\r\n"),
    "a lone surrogate": line(span(name="file \udc80")),
    "a character NUL": line(span(name="a\u0000b")),
    "bytes that are no UTF-8": line(span(name="NAME")).replace(b"NAME", b"\xff\xfe"),
    "nested beyond every measure": line(
        span(attributes=[{"key": "deep", "value": "NEST"}])
    ).replace(b'"NEST"', b"[" * 5000 + b"]" * 5000),
    "a line of 10 MB": line(
        span(attributes=[{"key": "big", "value": {"stringValue": "x" * 10_000_000}}])
    ),
}


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE.keys())
def test_an_unusual_span_is_read_all_the_same(home: Path, content: bytes) -> None:
    assert read(home, line(span()) + content + line(span())) == (3, 0)
    with Store(home) as store:
        assert spans.trace(store, TRACE)


def test_a_line_may_hold_many_spans_and_only_the_broken_one_is_skipped(home: Path) -> None:
    assert read(home, line(span(), span(spanId="?"), span())) == (2, 1)


def test_the_half_written_last_line_of_an_open_segment_is_read_once_it_is_whole(
    home: Path, record: Record
) -> None:
    record()
    path = home / "spool" / "operations-000001.jsonl"
    whole = line(span())
    with Store(home) as store, path.open("ab", buffering=0) as segment:
        for part, expected in ((whole[:50], 1), (whole[50:-1], 1), (whole[-1:], 2)):
            segment.write(part)
            store.refresh()
            assert spans.totals(store) == {"operations": expected}
            assert store.unreadable() == {}


def test_the_last_line_that_a_killed_writer_left_in_a_closed_segment_is_counted_unreadable(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    with (home / "spool" / "operations-000001.jsonl").open("ab") as segment:
        segment.write(line(span())[:50])
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1")
    record(family="history")
    (home / "spool" / "operations-000002.jsonl").touch()
    spool._spools["operations"].close()
    for _ in range(2):
        with Store(home) as store:
            assert spans.totals(store) == {"operations": 1, "history": 1}
            assert store.unreadable() == {"operations-000001": 1}
    assert len(list((home / "store").glob("operations-*.1.v3*.parquet"))) == 1


def test_every_field_of_a_span_is_kept(home: Path) -> None:
    attributes = [
        {"key": "orchestration.operation.name", "value": {"stringValue": "state.query"}},
        {"key": "session.id", "value": {"stringValue": "s1"}},
        {"key": "gen_ai.agent.name", "value": {"stringValue": "planner"}},
        {"key": "error.type", "value": {"stringValue": "KeyError"}},
        {"key": "size", "value": {"intValue": "9007199254740993"}},
        {"key": "small", "value": {"intValue": 7}},
        {"key": "ratio", "value": {"doubleValue": 0.5}},
        {"key": "flag", "value": {"boolValue": True}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": 'é"\\'}]}}},
    ]
    found = span(attributes=attributes, parentSpanId="00f067aa0ba902b7", status={"code": 2}, kind=3)
    document = {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        {"key": "service.name", "value": {"stringValue": "orchestration"}},
                        {"key": "process.pid", "value": {"intValue": "4242"}},
                    ]
                },
                "scopeSpans": [{"scope": {"name": "orchwatch"}, "spans": [found]}],
            }
        ]
    }
    path = home / "spool" / "operations-000001.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document) + "\n")
    with Store(home) as store:
        (read_back,) = spans.trace(store, TRACE)
    assert read_back == spans.Span(
        family="operations",
        trace_id=TRACE,
        span_id="b7ad6b7169203331",
        parent_span_id="00f067aa0ba902b7",
        name="state.query",
        operation="state.query",
        kind=3,
        start_ns=1790000000000000000,
        duration_ns=25_000_000,
        status=2,
        error_type="KeyError",
        service="orchestration",
        session_id="s1",
        agent="planner",
        attributes={
            "size": 9007199254740993,
            "small": 7,
            "ratio": 0.5,
            "flag": True,
            "list": ['é"\\'],
        },
        resource={"process.pid": 4242},
    )
