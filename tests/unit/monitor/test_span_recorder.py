from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.sessions.recorded_spans import NewSpans
from orchwatch.agents.sessions.spans import Span, encode
from orchwatch.monitor.span_recorder import LIVE_S, SpanRecorder
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.own_names
NOW_NS = time.time_ns()
OLD_NS = NOW_NS - int(LIVE_S * 1e9) - 1


def _span(number: int, end_ns: int = NOW_NS) -> Span:
    return Span("0" * 32, f"{number:016x}", "", "tool", "tool.execute", end_ns - 1, end_ns, {})


def _ids(lines: Callable[[str], Any], family: str) -> list[int]:
    parsed, _ = lines(family)
    return [
        int(span["spanId"], 16)
        for line in parsed
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def test_what_happened_long_ago_is_history(lines: Callable[[str], Any]) -> None:
    happened = SpanRecorder({}).append([_span(1), _span(2, OLD_NS)], NOW_NS)
    assert [span.span_id for span in happened] == [_span(1).span_id]
    assert _ids(lines, "operations") == [1]
    assert _ids(lines, "history") == [2]


def test_a_span_is_appended_once_by_one_process(lines: Callable[[str], Any]) -> None:
    recorded = SpanRecorder({})
    recorded.append([_span(1)], NOW_NS)
    assert recorded.append([_span(1), _span(2)], NOW_NS) == [_span(2)]
    assert _ids(lines, "operations") == [1, 2]


def test_what_was_appended_after_the_checkpoint_is_not_appended_again(
    lines: Callable[[str], Any],
) -> None:
    first = SpanRecorder({})
    first.append([_span(1)], NOW_NS)
    ends = first.ends()
    first.append([_span(2), _span(3, OLD_NS)], NOW_NS)
    # It is still counted as having happened: no checkpoint holds that.
    second = SpanRecorder(ends)
    assert second.append([_span(2), _span(3, OLD_NS), _span(4)], NOW_NS) == [_span(2), _span(4)]
    assert _ids(lines, "operations") == [1, 2, 4]
    assert _ids(lines, "history") == [3]


def test_without_a_checkpoint_the_whole_spool_is_read_back(lines: Callable[[str], Any]) -> None:
    SpanRecorder({}).append([_span(1)], NOW_NS)
    SpanRecorder(None).append([_span(1), _span(2)], NOW_NS)
    assert _ids(lines, "operations") == [1, 2]


def test_segments_since_the_checkpoint_are_read_back_to_the_last(
    lines: Callable[[str], Any], monkeypatch: Any
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "500")
    first = SpanRecorder({})
    first.append([_span(0)], NOW_NS)
    ends = first.ends()
    for number in range(1, 9):
        first.append([_span(number)], NOW_NS)
    SpanRecorder(ends).append([_span(number) for number in range(1, 10)], NOW_NS)
    assert _ids(lines, "operations") == list(range(10))


def test_what_a_killed_process_left_of_a_line_is_not_taken_for_a_span(home: Path) -> None:
    first = SpanRecorder({})
    first.append([_span(1)], NOW_NS)
    ends = first.ends()
    segment = home / "spool" / "operations-000001.jsonl"
    whole = segment.read_bytes()
    first.append([_span(2)], NOW_NS)
    line = segment.read_bytes().removeprefix(whole)
    segment.write_bytes(whole + line[: line.index(b'"spanId"') + 40] + b"\n")
    spool._spools["operations"].close()
    second = SpanRecorder(ends)
    second.append([_span(2)], NOW_NS)
    assert segment.read_bytes().endswith(line)


def test_what_the_spool_does_not_take_is_appended_once_when_it_does(
    home: Path, lines: Callable[[str], Any], lost: Callable[[], dict[str, int]]
) -> None:
    recorded = SpanRecorder({})
    recorded.append([_span(0)], NOW_NS)
    recorded.ends()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    line_bytes = (home / "spool" / "operations-000001.jsonl").stat().st_size
    many = [_span(number) for number in range(1, 200)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * line_bytes, limits[1]))
    try:
        # Two lines of a thousand spans each would come, and a part of the first one fits.
        assert len(recorded.append(many, NOW_NS)) == len(many)
        assert recorded.waiting == len(many)
        assert recorded.append([_span(200, OLD_NS)], NOW_NS) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    spool._spools[spool.OPERATIONS]._retry_at = recorded._retry_at_s = 0.0
    recorded.append([], NOW_NS)
    assert recorded.waiting == 0
    assert _ids(lines, "operations") == list(range(200))
    assert _ids(lines, "history") == [200]
    assert lost() == {}


def _import(*numbers: int) -> None:
    assert spool.append(spool.HISTORY, b"".join(encode([_span(n, OLD_NS) for n in numbers], "x")))


def test_what_was_imported_meanwhile_is_not_appended_again(lines: Callable[[str], Any]) -> None:
    recorded = SpanRecorder({})
    for number in (1, 3, 5):
        _import(number, number + 1)
        many = [_span(earlier, OLD_NS) for earlier in range(number + 2)]
        recorded.append(many, NOW_NS)
    assert sorted(_ids(lines, "history")) == list(range(7))


def test_what_was_imported_into_another_segment_is_not_appended_again(
    lines: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "500")
    recorded = SpanRecorder({})
    for number in range(1, 9):
        _import(number)
    recorded.append([_span(number) for number in range(10)], NOW_NS)
    assert sorted(_ids(lines, "history")) == list(range(1, 9))
    assert _ids(lines, "operations") == [0, 9]


def test_a_line_that_is_still_being_imported_is_read_once_it_is_whole(home: Path) -> None:
    new = NewSpans()
    _import(1)
    segment = home / "spool" / "history-000001.jsonl"
    whole = segment.read_bytes()
    _import(2, 3)
    line = segment.read_bytes().removeprefix(whole)
    half = line.rindex(b'"spanId"')
    segment.write_bytes(whole + line[:half])
    assert list(new.take()) == [_span(1).span_id]
    segment.write_bytes(whole + line)
    assert list(new.take()) == [_span(2).span_id, _span(3).span_id]
    assert list(new.take()) == []


def test_what_this_process_has_imported_is_not_read_again() -> None:
    _import(0)
    new = NewSpans()
    for number in (1, 2):
        lines = encode([_span(number)], "x")
        assert spool.append(spool.HISTORY, b"".join(lines))
        new.skip(spool.HISTORY, sum(map(len, lines)))
        assert list(new.take()) == []
    lines = encode([_span(3)], "x")
    _import(4)
    assert spool.append(spool.HISTORY, b"".join(lines))
    new.skip(spool.HISTORY, sum(map(len, lines)))
    assert list(new.take()) == [_span(4).span_id, _span(3).span_id]
