"""Where time went, phase by phase, as a table in 80 columns, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.analysis.phases import PHASES
from orchwatch.recording.safe_text import ljust, rjust, safe, width
from orchwatch.reporters import columns, json_document
from orchwatch.reporters.group_list import id_length
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.phases import Phase
    from orchwatch.analysis.time_spent import By, Found, Spent

_WIDTH = 80
_LEAST = 8
_MAX_TURNS = 3
_NS = 1_000_000_000
TITLES: dict[Phase, str] = {
    "person": "person",
    "retries": "retries",
    "compaction": "compact",
    "hooks": "hooks",
    "tools": "tools",
    "agents": "agents",
    "model": "model",
    "idle": "idle",
}
"""How each phase is headed."""

_WORDS: dict[Phase, str] = {
    "person": "waiting for a person",
    "retries": "retries after API errors",
    "compaction": "compaction",
    "hooks": "hooks",
    "tools": "tools",
    "agents": "waiting for sub-agents",
    "model": "the model",
    "idle": "idle",
}
_FIRST = "first"
_FIRST_NOTE = "first: of the model's time, until the first part of an answer came."


def render(found: Found, by: By, covered: str, file: TextIO, terminal: int = _WIDTH) -> None:
    """Writes one a line, the sum where there are several, then what they cover.

    Phases in which no time was spent are left out.

    Args:
        found: At least one.
        by: What they are.
        covered: A sentence about the window.
        file: Where to write.
        terminal: How many columns the terminal has.
    """
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    shown = [phase for phase in PHASES if any(one.lengths[phase] for one in found.spent)]
    if found.total:
        shown = [phase for phase in PHASES if found.total.lengths[phase]]
    tells = any(one.first_ns is not None for one in found.spent)
    heads = (by, "time", *(TITLES[phase] for phase in shown), *((_FIRST,) if tells else ()))
    length = id_length(_which(one, by) for one in found.spent)
    lines = [_row(_name(one, by, length), one, shown, tells=tells) for one in found.spent]
    if found.total and found.of_all > 1:
        lines.append(_row(f"all {found.of_all}", found.total, shown, tells=tells))
    widths = [max(map(width, column)) for column in zip(heads, *lines, strict=True)]
    gap = 2 if sum(widths) + 2 * len(widths[1:]) <= min(_WIDTH, terminal) else 1
    room = min(_WIDTH, terminal) - sum(size + gap for size in widths[1:])
    if room < _LEAST:
        columns.stacked(heads, lines, terminal, file)
        lines = []
    for name, *figures in [heads, *lines] if lines else []:
        cells = [rjust(cell, size) for cell, size in zip(figures, widths[1:], strict=True)]
        first = min(widths[0], room)
        # A name that is too long stands on a line of its own: nothing is cut off.
        start = ljust(name, first) if width(name) <= first else f"{name}\n{'':{first}}"
        file.write((" " * gap).join([start, *cells]) + "\n")
    file.write("\n")
    more = found.of_all - len(found.spent)
    notes = [covered, *_none([phase for phase in PHASES if phase not in shown])]
    if more:
        notes.append(f"{counted(more, f'other {by}')}; --limit 0 shows all.")
    notes += [_FIRST_NOTE] if tells else []
    notes += _behind(found, by)
    file.writelines(
        textwrap.fill(line, min(_WIDTH, terminal), break_on_hyphens=False) + "\n" for line in notes
    )


def render_json(found: Found, by: By, file: TextIO) -> None:
    """Writes one JSON object: each, and the total."""
    document = {
        "by": by,
        "phases": [as_dict(one) for one in found.spent],
        "total": None if found.total is None else figures(found.total),
        "of_all": found.of_all,
    }
    json_document.answer("phases", document, file)


def as_dict(one: Spent) -> dict[str, Any]:
    """One with what it is."""
    return {
        "trace_id": one.trace_id or None,
        "session_id": one.session_id,
        "agent": one.agent,
        "started": json_document.moment(one.start_ns),
        "ended": json_document.moment(one.end_ns),
        **figures(one),
    }


def figures(one: Spent) -> dict[str, Any]:
    """Its seconds by phase, which add up to `time_s`."""
    return {
        "turns": one.turns,
        "time_s": one.time_ns / _NS,
        **{f"{phase}_s": one.lengths[phase] / _NS for phase in PHASES},
        "first_token_s": None if one.first_ns is None else one.first_ns / _NS,
        "background_s": one.behind_ns / _NS,
    }


def rows(one: Spent) -> list[tuple[str, str, str]]:
    """Each phase that took any time, in words, how long, and its share; the longest first."""
    longest = sorted(PHASES, key=lambda phase: -one.lengths[phase])
    return [
        (
            _WORDS[phase],
            units.duration(one.lengths[phase] / _NS),
            units.whole_share(one.share(phase)),
        )
        for phase in longest
        if one.lengths[phase]
    ]


def shares(one: Spent) -> list[tuple[str, str]]:
    """Each phase as a key figure: its title, and its share."""
    return [(f"Turn time: {words}", share) for words, _, share in rows(one)]


def render_turns(turns: Sequence[Spent], file: TextIO, terminal: int = _WIDTH) -> None:
    """Writes a sentence about each of the first turns of a trace."""
    for one in turns[:_MAX_TURNS]:
        parts = [f"{words} {length} ({share})" for words, length, share in rows(one)]
        if parts:
            whole = units.duration(one.time_ns / _NS)
            said = f"Time of the turn, {whole}: {', '.join(parts)}."
            columns.sentences([said], file, min(_WIDTH, terminal))


def _row(name: str, one: Spent, shown: list[Phase], *, tells: bool) -> tuple[str, ...]:
    lengths = [one.time_ns, *(one.lengths[phase] for phase in shown)]
    cells = [units.duration(length / _NS) if length else units.ABSENT for length in lengths]
    if tells:
        cells.append(units.ABSENT if one.first_ns is None else units.duration(one.first_ns / _NS))
    return (name, *cells)


def _name(one: Spent, by: By, length: int) -> str:
    if by == "agent":
        return safe(one.agent or units.ABSENT)
    began = f"{datetime.fromtimestamp(one.start_ns / _NS, UTC):%m-%d %H:%M:%S}"
    return f"{began} {safe(_which(one, by))[:length]}"


def _which(one: Spent, by: By) -> str:
    return one.trace_id if by == "turn" else one.session_id or "no session"


def _none(left_out: list[Phase]) -> list[str]:
    """Which phases took no time; that of other agents is one by agent alone."""
    words = [_WORDS[phase] for phase in left_out if phase != "agents"]
    return [f"No time in: {', '.join(words)}."] if words else []


def _behind(found: Found, by: By) -> list[str]:
    if by == "session" or found.total is None or not found.total.behind_ns:
        return []
    length = units.duration(found.total.behind_ns / _NS)
    return [f"Sub-agents in the background were at work for {length} after the end of their turns."]
