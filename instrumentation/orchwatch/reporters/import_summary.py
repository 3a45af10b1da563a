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
# The most of them that a line lists.
_MAX_LISTED = 30


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


def render(summary: Summary, shown: str | None, to: TextIO) -> None:
    """As text, see `render_json`."""
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
    to.writelines(f"{title:<14}{number:>9}  {note}".rstrip() + "\n" for title, number, note in rows)
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
        f"{safe(name, _NAME_COLUMNS)} {number}" for name, number in most[:_MAX_LISTED]
    )
    return listed + (f" and {len(most) - _MAX_LISTED} more" if len(most) > _MAX_LISTED else "")


def _unless_zero(number: int, words: str) -> str:
    return f"{number} {words}" if number else ""
