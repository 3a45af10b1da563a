"""What coding agents keep on this machine, for a person or a program."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch.recording.safe_text import ELLIPSIS, safe
from orchwatch.reporters import json_document
from orchwatch.units import counted, size

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from orchwatch.agents.inventory import Kept

_NS = 1_000_000_000
_COLUMNS = 80
_INDENT = 14
_LEAST_COLUMNS = 16
_MAX_REASONS = 8


def render(
    found: Sequence[Kept], broken: Sequence[str], to: TextIO, columns: int = _COLUMNS
) -> None:
    """As text, an agent a paragraph.

    Args:
        found: What each keeps.
        broken: A line about each reader that cannot be used.
        to: Where to.
        columns: How many the terminal has.
    """
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    for one in found:
        to.write(f"{safe(one.reader.title)} ({safe(one.reader.name)})\n")
        for head, words in _rows(one):
            text = textwrap.fill(
                words,
                max(min(columns, _COLUMNS) - _INDENT, _LEAST_COLUMNS),
                break_on_hyphens=False,
                break_long_words=False,
            )
            lines = text.split("\n")
            to.write(f"  {head:{_INDENT - 2}}{lines[0]}\n")
            to.writelines(f"{'':{_INDENT}}{line}\n" for line in lines[1:])
        to.write("\n")
    to.writelines(f"left out: {line}\n" for line in broken)
    to.write("orchwatch import takes in what is new.\n")


def _rows(one: Kept) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for place, exists in one.places.items():
        rows.append(("where" if not rows else "", safe(place) + ("" if exists else " (not there)")))
    there = f"{one.sessions} in {counted(one.files, 'file')}, {size(one.size_bytes)}"
    if one.latest_ns:
        there += f", the latest of {_day(one.latest_ns)} UTC"
    rows.append(("sessions", there if one.sessions else "none"))
    if one.version:
        tried = one.reader.knows
        note = f" (its reader was tried with {tried})" if tried not in ("", one.version) else ""
        rows.append(("version", safe(one.version) + note))
    others = [f"{counted(one.strange, 'file')} of no session"] if one.strange else []
    others += [counted(number, why) for why, number in one.unreadable.most_common()]
    if others:
        rows.append(("others", ", ".join(others)))
    rows.append(("imported", counted(one.imported, "session")))
    if one.skipped:
        rows.append(("passed over", _listed(one.skipped)))
    return rows


def _listed(skipped: Counter[str]) -> str:
    listed = ", ".join(f"{safe(why)} {number}" for why, number in skipped.most_common(_MAX_REASONS))
    return listed + (f", {ELLIPSIS}" if len(skipped) > _MAX_REASONS else "")


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / _NS, UTC).strftime("%Y-%m-%d %H:%M")


def render_json(found: Sequence[Kept], broken: Sequence[str], to: TextIO) -> None:
    """As one JSON object, see `render`."""
    document = {"found": [_as_dict(one) for one in found], "left_out": list(broken)}
    json_document.answer("agents --found", document, to)


def _as_dict(one: Kept) -> dict[str, Any]:
    return {
        "agent": one.reader.name,
        "title": one.reader.title,
        "places": [{"path": path, "there": there} for path, there in one.places.items()],
        "sessions": one.sessions,
        "files": one.files,
        "size_bytes": one.size_bytes,
        "latest": json_document.moment(one.latest_ns) if one.latest_ns else None,
        "version": one.version or None,
        "tried_with": one.reader.knows or None,
        "strange_files": one.strange,
        "unreadable": dict(one.unreadable.most_common()),
        "imported": one.imported,
        "skipped": dict(one.skipped.most_common()),
    }
