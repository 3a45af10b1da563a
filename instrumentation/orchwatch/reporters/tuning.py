"""What was tuned: a table in at most 80 columns, and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.analysis import tuning
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import baseline_comparison, columns
from orchwatch.targets.knobs import KNOBS, shown
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.analysis.tuning import Decision
    from orchwatch.targets.knobs import Settings

_HEADS = ("knob", "from", "to", "operation", "99% interval", "decision")
_LOG_HEADS = ("decided", "knob", "from", "to", "change", "decision")
_MINUTE = len("2026-01-01T00:00")
_WORDS_COLUMNS = 300
_NAME_COLUMNS = 14
_GOOD = ("kept", "proposed")


def render(
    decisions: Sequence[Decision],
    settings: Settings,
    untried: Sequence[str],
    file: TextIO,
    *,
    colour: bool,
    room: int = columns.WIDTH,
) -> None:
    """Writes what was tried, with the operation that moved most, and what holds now."""
    rows = [(_row(one), _verdict(one)) for one in decisions]
    if rows:
        columns.table(_HEADS, rows, file, colour=colour, room=room)
        file.write("\n")
    columns.sentences(_said(decisions, settings, untried), file, min(room, columns.WIDTH))


def render_log(
    decisions: Sequence[Decision],
    in_effect: Sequence[Decision],
    settings: Settings,
    unreadable: int,
    file: TextIO,
    *,
    colour: bool,
    room: int = columns.WIDTH,
) -> None:
    """Writes all decisions, the oldest first, and which of them hold."""
    rows = [
        ((_when(one), one.knob, *_values(one), _moved(one), one.decision), _verdict(one))
        for one in decisions
    ]
    if rows:
        columns.table(_LOG_HEADS, rows, file, colour=colour, room=room)
        file.write("\n")
    holds = ", ".join(f"{one.knob} {shown(one.after)} since {_when(one)}" for one in in_effect)
    first = (
        f"In effect of these: {holds or 'none'}." if rows else "No decision yet: orchwatch tune."
    )
    lines = [first, f"Settings: {tuning.words(settings)}."]
    if unreadable:
        lines.append(f"Skipped: {counted(unreadable, 'unreadable line')} of the log.")
    columns.sentences(lines, file, min(room, columns.WIDTH))


def as_json(decision: Decision) -> dict[str, Any]:
    """One decision; durations in seconds, changes as shares of what it took before."""
    return {
        "number": decision.number or None,
        "at": decision.at,
        "decision": decision.decision,
        "knob": decision.knob,
        "before": decision.before,
        "after": decision.after,
        "why": decision.why,
        "operations": [baseline_comparison.as_json(change) for change in decision.operations],
    }


def settings_as_json(settings: Settings) -> dict[str, float]:
    """By the names that `[tuning]` has."""
    return {knob.name: knob.of(settings) for knob in KNOBS}


def why(decisions: Iterable[Decision]) -> Iterator[str]:
    """A sentence for each change that was kept or proposed: by what it was decided."""
    for one in decisions:
        change = one.deciding
        if one.decision in _GOOD and change is not None:
            did = "Kept" if one.decision == "kept" else "Proposed"
            yield (
                f"{did}: {one.knob} = {shown(one.after)} instead of {shown(one.before)}:"
                f" {safe(change.operation)} takes {units.duration(change.after_s)}, before"
                f" {units.duration(change.before_s)}; the change lies between"
                f" {_percent(change.low)} and {_percent(change.high)}."
            )
        elif one.decision == "undone" and not one.is_plain:
            yield (
                f"Undone: {one.knob} = {shown(one.after)} instead of {shown(one.before)}:"
                f" {safe(one.why, _WORDS_COLUMNS)}."
            )


def _said(
    decisions: Sequence[Decision], settings: Settings, untried: Sequence[str]
) -> Iterator[str]:
    yield from why(decisions)
    if untried:
        yield f"The time was over before all was tried of {', '.join(untried)}."
    if not any(one.decision in _GOOD for one in decisions):
        yield "Nothing was changed: no other value is better beyond doubt."
    proposed = any(one.decision == "proposed" for one in decisions)
    yield f"{'Proposed settings' if proposed else 'Settings'}: {tuning.words(settings)}."


def _row(decision: Decision) -> tuple[str, ...]:
    change = decision.deciding
    if change is None:
        return (decision.knob, *_values(decision), units.ABSENT, units.ABSENT, decision.decision)
    name = safe(change.operation, _NAME_COLUMNS)
    interval = f"{_percent(change.low)} to {_percent(change.high)}"
    return (decision.knob, *_values(decision), name, interval, decision.decision)


def _values(decision: Decision) -> tuple[str, str]:
    return shown(decision.before), shown(decision.after)


def _moved(decision: Decision) -> str:
    change = decision.deciding
    return units.ABSENT if change is None else _percent(change.change)


def _verdict(decision: Decision) -> str:
    return "ok" if decision.decision in _GOOD else ""


def _when(decision: Decision) -> str:
    return safe(decision.at)[:_MINUTE].replace("T", " ")


def _percent(share: float | None) -> str:
    return units.ABSENT if share is None else baseline_comparison.signed(share)
