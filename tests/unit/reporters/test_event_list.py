from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis.event_stream import Event
from orchwatch.reporters import event_list
from orchwatch.reporters.event_list import EventList

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME_NS = 1_795_378_503_118_000_000  # 2026-11-22 20:15:03.118 UTC
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SLOW = Event(
    time_ns=TIME_NS,
    kind="slow",
    severity="warning",
    name="state.query",
    operation="state.query",
    value=0.0812,
    target=0.05,
    unit="s",
    agent="worker-3",
    session_id="0f2c1a9b-3c4d-4e5f-8a9b-0c1d2e3f4a5b",
    trace_id=TRACE_ID,
)
FIRED = Event(
    time_ns=TIME_NS + 60_000_000_000,
    kind="alert",
    severity="critical",
    state="firing",
    name="CpuUtilizationHigh",
    summary="CPU utilization: 91%, the limit is 85%",
    recommendation="Consider limiting parallel agent execution",
)


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(*events: Event, width: int | None = None, colour: bool = False) -> str:
    file = io.StringIO()
    listed = EventList(file, width=width, colour=colour)
    listed.write(*events)
    return file.getvalue()


def test_each_event_is_one_line_in_local_time_below_its_day() -> None:
    day, slow, fired = shown(SLOW, FIRED).splitlines()
    assert day == "Sunday 22 November 2026, CET"
    assert slow.split() == [
        "21:15:03", "warning", "state.query", "81.2ms,", "target", "50ms",
        "worker-3", "0f2c1a9b", TRACE_ID,
    ]  # fmt: skip
    assert fired == (
        "21:16:03  critical  CpuUtilizationHigh          CPU utilization: 91%, the limit is 85%"
        " → Consider limiting parallel agent execution"
    )


def test_a_new_day_has_a_heading_of_its_own() -> None:
    tomorrow = Event(time_ns=TIME_NS + 86_400 * 10**9, kind="slow", severity="warning", name="a")
    lines = shown(SLOW, tomorrow).splitlines()
    assert lines[2:4] == ["", "Monday 23 November 2026, CET"]


@pytest.mark.parametrize("width", [1, 40, 80, 110, 200])
def test_lines_are_broken_where_a_terminal_ends_and_nothing_is_lost(width: int) -> None:
    failed = Event(
        time_ns=TIME_NS,
        kind="failure",
        severity="error",
        name="dependency.resolve",
        value=1.5,
        target=0.15,
        error_type="concurrent.futures._base.TimeoutErrorOfSomeKind",
        agent="an-agent-of-a-very-long-name",
        trace_id=TRACE_ID,
    )
    text = shown(SLOW, FIRED, failed, width=width)
    lines = text.splitlines()[1:]
    assert max(map(len, lines)) <= max(width, 65)
    after = " after" if width == 200 else ","
    told = f"…es._base.TimeoutErrorOfSomeKind{after} 1.5s, target 150ms"
    assert told in " ".join(text.split())
    assert TRACE_ID[:8] in text
    assert "parallel agent execution" in " ".join(text.split())


def test_what_fits_80_columns_is_one_line() -> None:
    assert shown(SLOW, width=80).splitlines()[1] == (
        "21:15:03  warning   state.query         81.2ms, target 50ms  worker-3  4bf92f35"
    )


@pytest.mark.parametrize(
    ("name", "error_type", "value", "who", "told"),
    [
        ("tool.execute", "tool_error", 151.0, "ses_dd6a7f01", "tool_error, 2m31s"),
        ("hook.process", "api.error", 0.0, "ses_dd6a7f01", "api.error"),
        ("dependency.resolve", "KeyError", 0.02, "ses_dd6a7f01", "KeyError, 20ms"),
        ("agent.turn", "TimeoutError", 5.0, "0123456789ab-other", "TimeoutError, 5s"),
        ("message.deliver", "TimeoutError", 1.23, "0123456789ab-other", "TimeoutError, 1.23s"),
    ],
)
def test_a_failure_fits_80_columns_too(
    name: str, error_type: str, value: float, who: str, told: str
) -> None:
    failed = Event(
        time_ns=TIME_NS,
        kind="failure",
        severity="error",
        name=name,
        value=value,
        error_type=error_type,
        session_id=who,
        trace_id=TRACE_ID,
    )
    alike = replace(failed, session_id=f"{who[:11]}~")
    _, *lines = shown(failed, alike, width=80).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[2:] == [name, *told.split(), who[:12], TRACE_ID[:8]]


def test_a_failure_without_a_length_says_none() -> None:
    for value in (0.0, None):
        event = Event(time_ns=1, kind="failure", severity="error", name="a", value=value)
        assert shown(event).endswith(f"{'a':26}  failed\n")


def test_ids_of_sessions_are_shown_as_far_as_they_differ() -> None:
    file = io.StringIO()
    listed = EventList(file, width=80, colour=False)
    ids = ["ses_dd6a7f", "ses_dd6a8e", "another-one"]
    listed.write(*(replace(SLOW, agent=None, session_id=one) for one in ids))
    whos = [line.split()[-2] for line in file.getvalue().splitlines()[1:]]
    assert whos == ["ses_dd6a7", "ses_dd6a8", "another-o"]
    listed.write(replace(SLOW, agent=None, session_id="another-one-that-came-later"))
    assert file.getvalue().splitlines()[-1].split()[-2] == "another-one-"
    listed.write(replace(SLOW, agent=None, session_id=f"{ids[0]}{'0' * 40}1"))
    assert len(file.getvalue().splitlines()[-1].split()[-2]) <= 13


def test_an_alert_that_has_ended_says_how_long_it_fired() -> None:
    ended = Event(
        time_ns=TIME_NS,
        kind="alert",
        severity="critical",
        state="resolved",
        name="CpuUtilizationHigh",
        summary="CPU: 91%",
        fired_s=240.0,
    )
    assert shown(ended).splitlines()[1].endswith("  fired for 4m00s: CPU: 91%")
    assert "resolved" in shown(ended)


@pytest.mark.parametrize(
    ("error_type", "told"), [("KeyError", "KeyError"), ("2", "error 2"), (None, "failed")]
)
def test_a_failure_says_why(error_type: str | None, told: str) -> None:
    failed = Event(
        time_ns=TIME_NS,
        kind="failure",
        severity="error",
        name="a",
        value=0.02,
        target=0.05,
        error_type=error_type,
    )
    assert shown(failed).rstrip().endswith(f" {told} after 20ms")


def test_colours_say_nothing_that_words_do_not() -> None:
    coloured = shown(SLOW, FIRED, width=80, colour=True)
    assert "\x1b[33mwarning " in coloured
    assert "\x1b[1;31mcritical" in coloured
    plain = coloured
    for code in ("0", "1", "2", "33", "1;31"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == shown(SLOW, FIRED, width=80)


def test_a_terminal_gets_nothing_but_text() -> None:
    name = "a\x1b[2Jb\nc\u202e"
    assert r"a\x1b[2Jb\nc\u202e" in shown(Event(time_ns=1, kind="slow", severity="\x1b", name=name))


def test_json_has_every_key_in_every_line_and_the_help_names_them() -> None:
    file = io.StringIO()
    for event in (SLOW, FIRED):
        event_list.render_json(event, file=file)
    slow, fired = map(json.loads, file.getvalue().splitlines())
    told = [key.strip(",") for line in event_list.KEYS.splitlines() for key in line[:16].split()]
    assert list(slow) == list(fired) == told
    assert slow["time"] == "2026-11-22T20:15:03.118Z"
    assert (slow["value"], slow["target"], slow["trace_id"]) == (0.0812, 0.05, TRACE_ID)
    assert (fired["state"], fired["trace_id"]) == ("firing", None)
