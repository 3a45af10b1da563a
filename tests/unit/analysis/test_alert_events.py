from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import alert_events
from orchwatch.analysis.alert_events import MONITOR, AlertEvent
from orchwatch.recording import spool

if TYPE_CHECKING:
    from pathlib import Path

FIRED = AlertEvent(
    name="ManyErrors",
    state="firing",
    severity="warning",
    summary='7 "operations" failed\n',
    start_ns=1_790_000_000_000_000_000,
    fingerprint="0a1b",
    evaluator=MONITOR,
    kind="pattern",
    target="errors",
    value=7.0,
    labels={"service_name": "agents"},
)
ENDED = replace(FIRED, state="resolved", end_ns=FIRED.start_ns + 90_000_000_000)


def write(*events: AlertEvent) -> None:
    for event in events:
        assert spool.append(spool.EVENTS, event.encode(observed_ns=event.time_ns).encode())


def test_an_event_is_read_as_it_was_written(home: Path) -> None:
    write(FIRED, ENDED)
    assert alert_events.latest(home / "spool", 10) == [FIRED, ENDED]


def test_it_says_how_long_an_alert_fired_that_has_ended() -> None:
    assert FIRED.fired_s is None
    assert ENDED.fired_s == 90.0
    assert replace(ENDED, end_ns=FIRED.start_ns - 1).fired_s == 0.0


def test_other_lines_hold_no_alerts() -> None:
    other = FIRED.encode(1).replace('"performance_alert"', '"another"')
    wrong = FIRED.encode(1).replace('"firing"', '"burning"')
    for line in (b"", b"7", b'{"resourceLogs":7}', b'{"resourceLogs":[{}]}', b"[" * 99_999):
        assert list(alert_events.read(line)) == []
    assert list(alert_events.read(other.encode())) == list(alert_events.read(wrong.encode())) == []


def test_a_moment_that_no_calendar_has_is_refused_and_not_read() -> None:
    line = FIRED.encode(1)
    for moment_ns in ("-1", str(2**63), "1e999"):
        with pytest.raises((ValueError, OverflowError)):
            replace(FIRED, start_ns=int(float(moment_ns)))
        assert list(alert_events.read(line.replace(str(FIRED.start_ns), moment_ns).encode())) == []
    assert replace(FIRED, start_ns=2**63 - 1).start_ns == 2**63 - 1


def test_values_of_other_kinds_are_texts_or_no_alert() -> None:
    line = FIRED.encode(1)
    odd = line.replace('{"stringValue":"errors"}', '{"intValue":"7"}')
    assert [event.target for event in alert_events.read(odd.encode())] == ["7"]
    odd = line.replace('{"doubleValue":7.0}', '{"stringValue":"seven"}')
    assert odd != line
    assert list(alert_events.read(odd.encode())) == []


def test_only_as_many_segments_are_read_as_are_needed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1")
    events = [replace(FIRED, fingerprint=str(number)) for number in range(5)]
    write(*events)
    assert alert_events.latest(home / "spool", 2) == events[-2:]
    assert alert_events.latest(home / "spool", 99) == events
