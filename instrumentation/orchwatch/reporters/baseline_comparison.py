"""What became slower or faster: a table in 80 columns, Markdown, and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchwatch.analysis.baselines import Compared
    from orchwatch.analysis.comparison import Change

HEADS = ("operation", "before", "after", "change", "99% interval", "noise", "verdict")
WORDS = {
    "significant_improvement": "much faster",
    "improvement": "faster",
    "stable": "stable",
    "regression": "REGRESSION",
    "unknown": "unknown",
}
MARKDOWN = {
    "significant_improvement": "significant improvement",
    "improvement": "improvement",
    "stable": "stable",
    "regression": "**regression**",
    "unknown": "unknown",
}
_FEW = 1000


def table(changes: Sequence[Change], file: TextIO, *, colour: bool) -> None:
    """Writes one line for each operation; more than 0 is slower."""
    rows = [((*cells(change), WORDS[change.verdict]), str(change.verdict)) for change in changes]
    columns.table(HEADS, rows, file, colour=colour)


def render(compared: Compared, file: TextIO, *, colour: bool) -> None:
    """Writes the table, what was held against what, and what has to be known about it."""
    table(compared.changes, file, colour=colour)
    file.write("\n")
    said = f"Before: {safe(compared.before)}. After: {safe(compared.after)}."
    columns.sentences([said, *notes(compared)], file)


def render_markdown(compared: Compared, file: TextIO) -> None:
    """Writes a table for a pull request."""
    heads = ("Operation", "Before", "After", "Change", "99 % interval", "Noise", "Verdict")
    file.write(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n")
    for change in compared.changes:
        name, *figures = (escaped(cell) for cell in cells(change))
        file.write(f"| `{name}` | {' | '.join(figures)} | {MARKDOWN[change.verdict]} |\n")
    file.write(f"\nBefore: {escaped(compared.before)}. After: {escaped(compared.after)}.\n")
    file.writelines(f"\n{escaped(note)}\n" for note in notes(compared))


def document(compared: Compared) -> dict[str, Any]:
    """All of it for JSON."""
    return {
        "operations": [as_json(change) for change in compared.changes],
        "before": compared.before,
        "after": compared.after,
        "regressions": [change.operation for change in compared.regressions],
        "notes": list(notes(compared)),
    }


def as_json(change: Change) -> dict[str, Any]:
    """One operation: durations in seconds, the rest shares of what it took before."""
    return {
        "operation": change.operation,
        "component": change.component or None,
        "before_s": change.before_s,
        "after_s": change.after_s,
        "before_count": change.before_count,
        "after_count": change.after_count,
        "before_failures": change.before_failures,
        "after_failures": change.after_failures,
        "change": change.change,
        "low": change.low,
        "high": change.high,
        "noise": change.noise,
        "verdict": change.verdict,
    }


def cells(change: Change) -> tuple[str, ...]:
    """Of a table's row, without the verdict."""
    interval = units.ABSENT
    if change.low is not None and change.high is not None:
        interval = f"{signed(change.low)} to {signed(change.high)}"
    return (
        safe(change.operation),
        units.duration(change.before_s),
        units.duration(change.after_s),
        units.ABSENT if change.change is None else signed(change.change),
        interval,
        units.whole_share(change.noise),
    )


def notes(compared: Compared) -> Iterator[str]:
    """What has to be known besides, sentences."""
    for change in compared.changes:
        name = safe(change.operation)
        if change.why:
            yield (
                f"{name}: {change.why}: {change.after_failures} of"
                f" {change.after_failures + change.after_count}, before {change.before_failures} of"
                f" {change.before_failures + change.before_count}."
            )
        elif change.verdict == "unknown":
            yield (
                f"{name}: too few to judge: {change.before_count} before,"
                f" {change.after_count} after."
            )
    yield from compared.notes
    if compared.unreadable:
        yield f"Skipped: {counted(compared.unreadable, 'unreadable line')} of the kept runs."


def signed(share: float) -> str:
    """Per cent with its sign."""
    if abs(share) >= _FEW:
        return f"{'+' if share > 0 else '-'}>{_FEW}x"
    return f"{share * 100:+.1f}%"


def escaped(text: str) -> str:
    r"""For a cell of a table, in which a bar ends the cell and brackets would be a link or HTML."""
    for letter in "\\|`<>[]*_":
        text = text.replace(letter, f"\\{letter}")
    return text
