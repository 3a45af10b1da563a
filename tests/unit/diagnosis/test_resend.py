from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.diagnosis import resend
from orchwatch.recording import spool
from orchwatch.store import spans
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record

TRACE = "0af7651916cd43dd8448eb211c80319c"
EVENTS = ',"events":[{"timeUnixNano":"1","name":"exception"}],"traceState":"a=b"'


def canonical(line: Any) -> Any:
    """The order of attributes means nothing."""
    (resource,) = line["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    (span,) = scope["spans"]
    for owner in (resource["resource"], span):
        owner["attributes"].sort(key=lambda pair: pair["key"])
    span["parentSpanId"] = span.get("parentSpanId", "")
    return line


@pytest.mark.parametrize("parent", ["", "00f067aa0ba902b7"])
@pytest.mark.parametrize("more", ["", EVENTS])
def test_a_span_is_sent_again_just_as_it_was(
    home: Path,
    record: Record,
    lines: Callable[[str], tuple[list[Any], int]],
    parent: str,
    more: str,
) -> None:
    original = record(
        trace_id=TRACE,
        span_id="00ad6b7169203331",
        parent_span_id=parent,
        failed=True,
        attributes={"session.id": "s1", "size": 2**60, "list": ["é", "\n"], "flag": False},
        more=more,
    )
    with Store(home) as store:
        assert resend.resend(store, [(TRACE, "00ad6b7169203331")]) == 1
    (_, sent), unreadable = lines(spool.UNDELIVERED)
    assert unreadable == 0
    assert canonical(sent) == canonical(json.loads(original))


def test_what_is_sent_again_is_counted_once_and_history_stays_history(
    home: Path, record: Record
) -> None:
    record(trace_id=TRACE, span_id="00000000000000a1")
    record(trace_id=TRACE, span_id="00000000000000a2", family=spool.HISTORY)
    with Store(home) as store:
        both = [(TRACE, "00000000000000a1"), (TRACE, "00000000000000a2")]
        assert resend.resend(store, both) == 2
        store.refresh()
        assert spans.totals(store) == {"operations": 1, "undelivered": 1, "history": 2}
        (found,) = spans.summaries(store, targets_s={})
        assert found.count == 1


def test_what_was_never_counted_is_sent_again_to_be_counted(
    home: Path, record: Record, lines: Callable[[str], tuple[list[Any], int]]
) -> None:
    record(trace_id=TRACE, span_id="00ad6b7169203331")
    record(trace_id=TRACE, span_id="00ad6b7169203332", family=spool.UNDELIVERED)
    record(trace_id=TRACE, span_id="00ad6b7169203333", family=spool.HISTORY)
    before = {family: len(lines(family)[0]) for family in spool.FAMILIES[:3]}
    with Store(home) as store:
        every = [(TRACE, f"00ad6b716920333{number}") for number in (1, 2, 3)]
        assert resend.resend(store, every, counted=True) == 3
        store.refresh()
        # Here it is one operation still.
        assert store.query("SELECT count(DISTINCT (trace_id, span_id)) FROM span") == [(3,)]
    after = {family: len(lines(family)[0]) for family in spool.FAMILIES[:3]}
    assert after == {family: number + 1 for family, number in before.items()}


def test_a_span_that_is_compacted_can_still_be_sent_again(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    record(trace_id=TRACE, span_id="00000000000000a1")
    for _ in range(10):
        record()
    Store(home).close()
    (home / "spool" / "operations-000001.jsonl").unlink()
    with Store(home) as store:
        assert resend.resend(store, [(TRACE, "00000000000000a1")]) == 1
