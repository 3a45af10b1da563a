"""Hooks as a table in 80 columns, or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.analysis.span_tree import hook_label
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import json_document
from orchwatch.units import counted

if TYPE_CHECKING:
    from orchwatch.analysis.hooks import Found, Hook

_WIDTH = 80
_NAMELESS = "hook"
HEADS = ("hook", "runs", "p50", "p95", "failed", "late", "of turns", "turn", "without")
NOTE = (
    "late: took longer than it may. of turns: of the time of its sessions' turns. turn:"
    " what one took in which it ran, on average; without: had it taken no time. What runs"
    " beside something longer costs a turn nothing."
)


def render(found: Found, covered: str, file: TextIO, columns: int = _WIDTH) -> None:
    """Writes one a line, then what they cover.

    Args:
        found: At least one hook.
        covered: A sentence about the window.
        file: Where to write.
        columns: How many the terminal has.
    """
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    from orchwatch.reporters.columns import named  # noqa: PLC0415 - likewise

    named([HEADS, *map(row, found.hooks)], min(_WIDTH, columns), file)
    unmeasured = sum(hook.unmeasured for hook in found.hooks)
    lines = [covered]
    if found.of_all > found.turns:
        lines.append(f"What turns take is that of the latest {found.turns} of {found.of_all}.")
    if unmeasured:
        lines.append(
            f"Of {counted(unmeasured, 'run')} the time is unknown: after"
            " orchwatch claude install --wrap each is measured."
        )
    file.write("\n")
    file.writelines(
        textwrap.fill(line, min(_WIDTH, columns), break_on_hyphens=False) + "\n"
        for line in (*lines, NOTE)
    )


def render_json(found: Found, file: TextIO) -> None:
    """Writes one JSON object: the hooks, and how many turns were looked at."""
    document = {
        "hooks": [asdict(hook) for hook in found.hooks],
        "turns": found.turns,
        "of_all": found.of_all,
    }
    json_document.answer("hooks", document, file)


def row(hook: Hook) -> tuple[str, ...]:
    """The cells of a hook."""
    return (
        safe(hook_label(hook.event, hook.name) or _NAMELESS),
        str(hook.count + hook.unmeasured),
        units.duration(hook.p50_s),
        units.duration(hook.p95_s),
        str(hook.failures),
        str(hook.timeouts),
        units.share(hook.turn_share),
        units.duration(hook.turn_s),
        units.duration(hook.turn_without_s),
    )
