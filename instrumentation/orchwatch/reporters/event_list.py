"""The event stream as lines: one for each event, a heading for each day."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, safe, width
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from orchwatch.analysis.event_stream import Event

KEYS = """\
schema_version  of these keys: docs/json.md says when it changes
time            when, UTC: an alert's beginning or end, an operation's end
kind            alert; failure (an operation that failed); slow (one beyond its warning)
severity        info, warning or critical of an alert; error of a failure; warning of what is slow
state           of an alert: firing, resolved
name            of the alert or the operation
summary         what the alert says, with value and unit
operation       also of an alert that is about one
value           what was measured, in `unit`; of an operation its duration
target, unit    the table's; s, By, 1 (a share from 0 to 1), …
error_type      why an operation failed
fired_s         how long an alert fired that has ended
agent           who
session_id      whose
trace_id        for `orchwatch trace`
evaluator       of an alert: alertmanager, or monitor where that saw it without any server
recommendation  what the alert advises
runbook         where its entry is
dashboard       where it can be seen
"""

_NS = 1e9
_COLOURS = {"info": "36", "warning": "33", "error": "31", "critical": "1;31", "resolved": "32"}
_DIM = "2"
_BOLD = "1"
_SESSION_LENGTH = 8
_MAX_SESSION_LENGTH = 13  # as in the lists
_MAX_AGENT = 20
# What a name takes at most, and a sentence.
_MAX, _MAX_WORDS = 80, 500
_MAX_ERROR = 32
_SEVERITY_WIDTH = max(map(len, _COLOURS))
_MARGIN = len("00:00:00") + _SEVERITY_WIDTH + 4
_TIED = "\0"  # a space at which no line is broken


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a line is laid out; names and texts that are longer push the rest aside.

    Attributes:
        name: Width of that column.
        what: Of the next one, what happened.
        who: Of the one after that, which is followed by the trace.
        trace: How many digits of its id are shown; `orchwatch trace` takes the first ones too.
        after: What stands between a failure and how long that took.
    """

    name: int
    what: int
    who: int
    trace: int
    after: str = ", "

    @property
    def width(self) -> int:
        return _MARGIN + self.name + self.what + self.who + self.trace + 6


_WHO_WIDTH = _MAX_AGENT + 2 + _SESSION_LENGTH
_LAYOUTS = (
    _Layout(name=26, what=38, who=_WHO_WIDTH, trace=32, after=" after "),
    _Layout(name=18, what=19, who=_WHO_WIDTH, trace=8),
    _Layout(name=18, what=19, who=_SESSION_LENGTH, trace=8),
)


def render_json(*events: Event, file: TextIO) -> None:
    """Writes each as a line of JSON, with all of `KEYS`, null where there is nothing to say."""
    for event in events:
        values = asdict(event)
        moment = datetime.fromtimestamp(values.pop("time_ns") / _NS, UTC)
        time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        json_document.answer("events", {"time": time, **values}, file, indent=None)


class EventList:
    """Writes events for a person, in local time.

    Args:
        file: Where to write.
        width: Of a terminal, whose lines are broken between words; None where none need be.
        colour: Whether severities are coloured; they are spelt out in any case.
    """

    def __init__(self, file: TextIO, *, width: int | None, colour: bool) -> None:
        self._file = file
        self._width = width
        fitting = [layout for layout in _LAYOUTS if width is None or layout.width <= width]
        self._layout = fitting[0] if fitting else _LAYOUTS[-1]
        self._room = max((width or 0) - _MARGIN, _MAX_AGENT)
        self._colour = colour
        self._day: date | None = None
        self._sessions: set[str] = set()
        self._length = _SESSION_LENGTH

    def write(self, *events: Event) -> None:
        """Writes some; ids of sessions as far as they tell these and the former apart."""
        new = {safe(event.session_id) for event in events if event.session_id} - self._sessions
        self._sessions |= new
        while new and self._length < _MAX_SESSION_LENGTH and self._alike():
            self._length += 1
        for event in events:
            self._write(event)

    def _alike(self) -> bool:
        return len({one[: self._length] for one in self._sessions}) < len(self._sessions)

    def _write(self, event: Event) -> None:
        moment = datetime.fromtimestamp(event.time_ns / _NS).astimezone()
        if moment.date() != self._day:
            gap = "\n" if self._day else ""
            self._day = moment.date()
            heading = f"{moment:%A} {moment.day} {moment:%B %Y}, {moment.tzname()}"
            self._file.write(f"{gap}{self._painted(heading, _BOLD)}\n")
        severity = "resolved" if event.state == "resolved" else safe(event.severity, _MAX)
        start = (
            f"{self._painted(f'{moment:%H:%M:%S}', _DIM)}  "
            f"{self._painted(severity.ljust(_SEVERITY_WIDTH), _COLOURS.get(severity, ''))}  "
        )
        for number, line in enumerate(self._lines(event)):
            self._file.write(f"{' ' * _MARGIN if number else start}{line}\n")

    def _lines(self, event: Event) -> list[str]:
        """What follows the severity."""
        layout = self._layout
        name, what = safe(event.name, _MAX), _what(event, layout.after)
        if event.kind == "alert":  # it has no agent and no trace: its sentence may fill the line
            return self._wrapped(f"{ljust(name, layout.name)}  {what}")
        who = _who(event, layout.who, self._length)
        trace_id = safe(event.trace_id or "")[: layout.trace]
        if width(what) <= self._room:
            what = what.replace(" ", _TIED)
        who = who.replace(" ", _TIED)
        line = self._row((name, what, who), (layout.name, layout.what, layout.who), trace_id)
        lines = [text.replace(_TIED, " ") for text in self._wrapped(line.rstrip())]
        start = lines[-1].removesuffix(trace_id)
        return [*lines[:-1], start + self._painted(trace_id, _DIM)] if trace_id else lines

    def _row(self, cells: Sequence[str], sizes: Sequence[int], trace_id: str) -> str:
        """Cells in their columns, which are made narrower where the line has no room for them."""
        padding = [max(size - width(cell), 0) for cell, size in zip(cells, sizes, strict=True)]
        over = sum(map(width, (*cells, trace_id))) + sum(padding) + 2 * len(cells) - self._room
        for column in reversed(range(len(cells))) if self._width else ():
            less = min(max(over, 0), padding[column])
            padding[column] -= less
            over -= less
        padded = (f"{cell}{'':{more}}" for cell, more in zip(cells, padding, strict=True))
        return "  ".join((*padded, trace_id))

    def _wrapped(self, line: str) -> list[str]:
        if self._width is None:
            return [line]
        return textwrap.wrap(line, self._room, break_long_words=False, break_on_hyphens=False)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


def _what(event: Event, after: str) -> str:
    if event.kind == "alert":
        summary = safe(event.summary or "", _MAX_WORDS)
        if event.fired_s is not None:
            return f"fired for {units.duration(event.fired_s)}: {summary}"
        advice = safe(event.recommendation or "", _MAX_WORDS)
        return f"{summary} → {advice}" if advice else summary
    took = units.duration(event.value)
    target = ""
    if event.value is not None and event.target is not None and event.value > event.target:
        target = f", target {units.duration(event.target)}"
    if event.kind == "slow":
        return f"{took}{target}"
    reason = _reason(event.error_type)
    return f"{reason}{after}{took}{target}" if event.value else reason


def _reason(error_type: str | None) -> str:
    reason = safe(error_type or "failed")
    if len(reason) > _MAX_ERROR:
        # The end of a dotted name says most.
        reason = "…" + reason[1 - _MAX_ERROR :]
    # An exit code or a status.
    return f"error {reason}" if reason.isdecimal() else reason


def _who(event: Event, width: int, length: int) -> str:
    """The agent and so much of its session, or either."""
    agent = safe(event.agent or "", _MAX_AGENT)
    session = safe(event.session_id or "")[:length]
    return f"{agent}  {session}".strip() if width >= _WHO_WIDTH else agent or session
