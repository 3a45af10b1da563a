from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.monitor import ended_operations
from orchwatch.monitor.ended_operations import EndedOperation, Reader

# Lines of anybody's.
pytestmark = pytest.mark.own_names

if TYPE_CHECKING:
    from tests.unit.conftest import Record

NOW_NS = 1_795_996_619_000_000_000
WHO: dict[str, Any] = {
    semconv.SESSION_ID: "s",
    semconv.GEN_AI_AGENT_NAME: "coder",
    semconv.GEN_AI_AGENT_ID: "a1",
}


def _slowly(line: bytes) -> list[EndedOperation]:
    """As any other line, whatever form it has."""
    document = json.loads(line)
    return Reader().read(json.dumps(document, indent=1).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"attributes": WHO},
        {"attributes": WHO, "failed": True, "parent_span_id": "b" * 16},
        {"attributes": {semconv.SESSION_ID: 3, "text": 'a "spans":[{"traceId":"x"} b'}},
        {"attributes": {semconv.SESSION_ID: "größe\n\\", "list": [1, 2]}},
        {"more": ',"events":[{"name":"e"}],"links":[{"traceId":"' + "e" * 32 + '"}]'},
        {"duration_ns": 0},
        {"operation": None},
        {"operation": 'quoted "spans":[{"traceId":"'},
    ],
)
def test_a_line_is_read_alike_whether_or_not_it_is_of_our_own_form(
    record: Record, changed: dict[str, Any]
) -> None:
    reader = Reader()
    for _ in range(2):  # the second time from what was parsed before
        line = record(**{"end_ns": NOW_NS, **changed}).rstrip(b"\n")
        assert reader.read(line) == _slowly(line)
        (found,) = reader.read(line)
        assert found.is_operation == (changed.get("operation", "") is not None)


def test_a_line_of_several_spans_gives_each(record: Record) -> None:
    one = record(end_ns=NOW_NS, span_id="a" * 16).rstrip(b"\n")
    document = json.loads(one)
    (scope,) = document["resourceSpans"][0]["scopeSpans"]
    scope["spans"] += [{**scope["spans"][0], "spanId": digit * 16} for digit in "bc"]
    line = json.dumps(document, separators=(",", ":")).encode()
    assert [found.span_id[0] for found in Reader().read(line)] == ["a", "b", "c"]
    assert Reader().read(line) == _slowly(line)


def test_what_is_parsed_once_says_who_it_was(record: Record) -> None:
    line = record(
        "tool.execute",
        duration_ns=5,
        end_ns=NOW_NS,
        failed=True,
        trace_id="e" * 32,
        span_id="c" * 16,
        parent_span_id="d" * 16,
        attributes=WHO | {semconv.HOOK_NAME: "lint.sh", semconv.HOOK_EVENT_NAME: "Stop"},
        name="a name",
    ).rstrip(b"\n")
    reader = Reader()
    assert reader.read(line) == [
        EndedOperation(
            operation="tool.execute",
            end_ns=NOW_NS,
            duration_ns=5,
            failed=True,
            session_id="s",
            agent="coder",
            agent_id="a1",
            span_id="c" * 16,
            parent_span_id="d" * 16,
            service="orchestration",
            host=None,
            pid="42",
            trace_id="e" * 32,
            name="a name",
            hook="lint.sh",
            hook_event="Stop",
        )
    ]
    assert reader._read_own(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"[]",
        b"3",
        b"[" * 100_000,
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[3]}]}]}',
        b'{"resourceSpans":{"a":1}}',
        b'{"orchwatch":{"id":"x"},"resourceSpans":[]}',
    ],
)
def test_what_cannot_be_read_is_no_operation(line: bytes) -> None:
    assert Reader().read(line) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"endTimeUnixNano":"', b'"endTimeUnixNano":"x'),
        (b'"endTimeUnixNano":"1', b'"endTimeUnixNano":"99999999999999999999'),
        (b'"spanId":"', b'"spanId":"zz'),
        (b'"traceId":"', b'"traceId":"0'),
        (b'"code":1', b'"code":"one"'),
    ],
)
def test_a_span_that_breaks_otlp_is_no_operation(record: Record, old: bytes, new: bytes) -> None:
    line = record(end_ns=NOW_NS).rstrip(b"\n")
    assert old in line
    assert Reader().read(line.replace(old, new)) == []


def test_what_was_parsed_is_not_kept_without_bound(record: Record) -> None:
    reader = Reader()
    line = record(end_ns=NOW_NS, attributes=WHO).rstrip(b"\n")
    for number in range(ended_operations._MAX_PARSED + 10):
        own = line.replace(b'"coder"', b'"%d"' % number).replace(
            b'"intValue":"42"', b'"intValue":"%d"' % number
        )
        assert len(reader.read(own)) == 1
    assert len(reader._attributes) <= ended_operations._MAX_PARSED
    assert len(reader._processes) <= ended_operations._MAX_PARSED


def test_a_byte_that_is_no_utf_8_costs_that_character(record: Record) -> None:
    line = (
        record("state.query", name="caf_", end_ns=NOW_NS).rstrip(b"\n").replace(b"caf_", b"caf\xe9")
    )
    assert [found.name for found in Reader().read(line)] == ["caf\ufffd"]
