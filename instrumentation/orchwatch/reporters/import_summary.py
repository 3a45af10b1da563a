"""What an import added, for a person or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections import Counter

    from orchwatch.agents.importer import Summary

_NS_PER_S = 1_000_000_000
# Of a tool; a table of them has many.
_NAME_COLUMNS = 60
# The most of them that are listed.
_MAX_LISTED = 8
_COLUMNS = 80
_INDENT = 25
_LEAST_COLUMNS = 16
_TIED = "\0"  # a space at which no line is broken


def render_json(summary: Summary, shown: str | None, to: TextIO) -> None:
    """As one JSON object.

    Args:
        summary: What was added.
        shown: The address that shows it, if there is something to show.
        to: Where to.
    """
    json_document.answer(
        "claude import",
        {
            "sessions": summary.sessions,
            "unchanged": summary.unchanged,
            "turns": summary.turns,
            "agents": summary.agents,
            "tools": _by_count(summary.tools),
            "errors": summary.failed.total(),
            "failed_tools": _by_count(summary.failed),
            "api_errors": summary.api_errors,
            "hooks": summary.hooks,
            "compactions": summary.compactions,
            "open_turns": summary.open_turns,
            "skipped": _by_count(summary.skipped),
            "spans": summary.spans,
            "read_bytes": summary.read_bytes,
            "slowest_turn": _slowest(summary),
            "dashboard": shown,
        },
        to,
    )


def render(summary: Summary, shown: str | None, to: TextIO, columns: int = _COLUMNS) -> None:
    """As text in so many columns, see `render_json`."""
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    rows = [
        ("sessions", summary.sessions, _unless_zero(summary.unchanged, "without news")),
        ("turns", summary.turns, _unless_zero(summary.open_turns, "more still open")),
        ("agents", summary.agents, ""),
        ("tool calls", summary.tools.total(), _names(summary.tools)),
        ("errors", summary.failed.total(), _names(summary.failed)),
        ("API errors", summary.api_errors, ""),
        ("hooks", summary.hooks, ""),
        ("compactions", summary.compactions, ""),
        ("skipped lines", summary.skipped.total(), _names(summary.skipped)),
        ("spans added", summary.spans, ""),
    ]
    room = max(min(columns, _COLUMNS) - _INDENT, _LEAST_COLUMNS)
    for title, number, note in rows:
        lines = textwrap.wrap(note, room, break_long_words=False, break_on_hyphens=False)
        words = f"\n{'':{_INDENT}}".join(lines).replace(_TIED, " ")
        to.write(f"{title:<14}{number:>9}  {words}".rstrip() + "\n")
    if shown:
        to.write(f"With the stack up, Grafana shows it: {safe(shown, len(shown))}\n")
    if summary.slowest_trace:
        took = units.duration(summary.slowest_ns / _NS_PER_S)
        to.write(f"The slowest turn took {took}: orchwatch trace {summary.slowest_trace}\n")


def _slowest(summary: Summary) -> dict[str, str | float] | None:
    if not summary.slowest_trace:
        return None
    return {"trace_id": summary.slowest_trace, "duration_s": summary.slowest_ns / _NS_PER_S}


def _by_count(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _names(counted: Counter[str]) -> str:
    most = list(_by_count(counted).items())
    listed = ", ".join(
        f"{safe(name, _NAME_COLUMNS)}{_TIED}{number}" for name, number in most[:_MAX_LISTED]
    )
    return listed + (f" and {len(most) - _MAX_LISTED} more" if len(most) > _MAX_LISTED else "")


def _unless_zero(number: int, words: str) -> str:
    return f"{number} {words}" if number else ""
