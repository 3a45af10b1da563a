"""Sessions, agents and traces as a table in 80 columns, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, rjust, safe, width
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.analysis.costs import Cost
    from orchwatch.analysis.listing import Group, Kind

_WIDTH = 80
_NS = 1_000_000_000
_ID_LENGTH = 8
_TIME_LENGTH = 13  # of a UUID of version 7 so many are its time, which is all that differs soon
_CENT = 0.01
_NAME_COLUMNS = 40
_SHARES = ("tools", "hooks", "rest")
_HEADS = {
    "session": ("session", "started", "took", "busy", "ops", "errors", *_SHARES, "cost", "project"),
    "agent": ("agent", "session", "started", "took", "busy", "ops", "errors", *_SHARES),
    "trace": ("trace", "started", "took", "ops", "errors", *_SHARES, "name"),
}
_TEXTS = ("session", "agent", "trace", "started", "name", "project")
# Names of any length, so they come last.
_NAMES = ("name", "project")
_NOTE = (
    "Times are UTC. Shares of the busy time; rest: turns outside of tools and hooks: the model,"
    " waits for a person, idle."
)
_COST_NOTE = "Cost: US dollars, as reported by the session's processes at their end."
_NEXT = {
    "session": "orchwatch traces --session ID lists its traces; the start of an id will do.",
    "agent": "orchwatch traces --agent NAME lists its traces; the start of an id will do.",
    "trace": "orchwatch trace ID shows one; the start of an id will do.",
}


def render(
    kind: Kind, groups: Sequence[Group], of_all: int, file: TextIO, columns: int = _WIDTH
) -> None:
    """Writes one a line, then how many there are and how to go on.

    Args:
        kind: What they are.
        groups: At least one.
        of_all: How many there are in all.
        file: Where to write.
        columns: How many the terminal has.
    """
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    heads = _HEADS[kind]
    sessions = [group.session_id for group in groups if group.session_id]
    most = _NAME_COLUMNS if kind == "agent" else _TIME_LENGTH  # the former are no UUIDs
    lengths = id_length([group.id for group in groups], most), id_length(sessions)
    rows = [heads, *(_row(kind, group, _dates(groups), lengths) for group in groups)]
    if kind == "session" and not any(group.project for group in groups):
        heads, *rows = (row[:-1] for row in rows)
        rows.insert(0, heads)
    _write(heads, rows, file, min(columns, _WIDTH))
    more = f"{len(groups)} of {of_all}: --limit shows more." if of_all > len(groups) else ""
    cost = _COST_NOTE if kind == "session" else ""
    notes = [note for note in (more, _NOTE, cost, _NEXT[kind]) if note]
    file.write("\n")
    file.writelines(
        textwrap.fill(note, min(columns, _WIDTH), break_on_hyphens=False) + "\n" for note in notes
    )


def _write(heads: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO, room: int) -> None:
    """Writes the table; a name too long for its line stands on one of its own, nothing is cut."""
    from orchwatch.reporters.columns import stacked  # noqa: PLC0415 - as above

    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    last = heads[-1] in _NAMES
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= room else " "
    others = sum(widths[1 : -1 if last else None]) + len(widths) - 1 - last
    if others + width(heads[0]) > room and room < _WIDTH:
        stacked(heads, rows[1:], room, file)
        return
    widths[0] = min(widths[0], max(room - others, width(heads[0])))
    for row in rows:
        cells = [
            ljust(cell, size) if head in _TEXTS else rjust(cell, size)
            for head, cell, size in zip(heads, row, widths, strict=True)
        ]
        if width(row[0]) > widths[0]:
            cells[0] = f"{row[0]}\n{'':{widths[0]}}"
        line = gap.join(cells).rstrip()
        if last and width(line) > room:
            line = f"{gap.join(cells[:-1]).rstrip()}\n    {row[-1]}"
        file.write(line + "\n")


def render_json(kind: Kind, groups: Iterable[Group], of_all: int, file: TextIO) -> None:
    """Writes one JSON object: the list, named as the command, and how many there are in all."""
    document = {f"{kind}s": [as_dict(kind, group) for group in groups], "of_all": of_all}
    json_document.answer(f"{kind}s", document, file)


def as_dict(kind: Kind, group: Group) -> dict[str, Any]:
    """One of the list; times in ISO 8601, durations in seconds, shares from 0 to 1."""
    own: dict[str, Any] = {"id": group.id}
    if kind == "session":
        own |= {"project": group.project}
    else:
        own |= {"name": group.name, "session_id": group.session_id}
    return own | {
        "started": json_document.moment(group.start_ns),
        "ended": json_document.moment(group.end_ns),
        "duration_s": (group.end_ns - group.start_ns) / _NS,
        "busy_s": group.busy_ns / _NS,
        "operations": group.operations,
        "errors": group.errors,
        **({} if kind == "agent" else {"agents": group.agents}),
        "tools_share": group.share(group.tools_ns),
        "model_share": group.share(group.rest_ns),
        "hooks_share": group.share(group.hooks_ns),
        **(_cost(group.cost) if kind == "session" else {}),
    }


def _cost(cost: Cost | None) -> dict[str, Any]:
    """By a session's own account, over all its processes that have ended."""
    return {
        "cost_usd": cost.usd if cost else None,
        "api_s": cost.api_s if cost else None,
        "tools_s": cost.tools_s if cost else None,
        "models_usd": cost.models_usd if cost else None,
    }


def id_length(ids: Iterable[str], most: int = _TIME_LENGTH) -> int:
    """How many letters of each tell them all apart, at least eight and at most so many."""
    found = {safe(one) for one in ids}
    length = _ID_LENGTH
    while length < most and len({one[:length] for one in found}) < len(found):
        length += 1
    return length


def _row(kind: Kind, group: Group, date: str, lengths: tuple[int, int]) -> tuple[str, ...]:
    started = f"{_moment(group.start_ns):{date}%H:%M:%S}"
    took = units.duration((group.end_ns - group.start_ns) / _NS)
    counts = (str(group.operations), str(group.errors))
    shares = tuple(
        units.whole_share(group.share(part))
        for part in (group.tools_ns, group.hooks_ns, group.rest_ns)
    )
    short = safe(group.id)[: lengths[0]]
    if kind == "trace":
        return (short, started, took, *counts, *shares, safe(group.name or "", _NAME_COLUMNS))
    busy = units.duration(group.busy_ns / _NS)
    if kind == "session":
        project = safe(group.project or units.ABSENT, _NAME_COLUMNS)
        return (short, started, took, busy, *counts, *shares, _dollars(group.cost), project)
    name = safe(group.name or "", _NAME_COLUMNS // 2)
    who = name if group.name == group.id else f"{name} {short}".strip()
    if short.startswith(f"{name}-"):
        who = short
    session = safe(group.session_id or units.ABSENT)[: lengths[1]]
    return (who if group.name != "main" else "main", session, started, took, busy, *counts, *shares)


def _dollars(cost: Cost | None) -> str:
    if cost is None:
        return units.ABSENT
    return f"{cost.usd:.2f}" if cost.usd >= _CENT else f"<{_CENT}"


def _dates(groups: Iterable[Group]) -> str:
    """How much of the dates has to be said."""
    moments = [_moment(group.start_ns) for group in groups]
    today = datetime.now(UTC)
    if all(moment.date() == today.date() for moment in moments):
        return ""
    return "%m-%d " if all(moment.year == today.year for moment in moments) else "%Y-%m-%d "


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / _NS, UTC)
