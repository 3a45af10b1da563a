"""A trace in text, as the commands print it: a waterfall, a flame graph, a critical path."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from orchwatch.analysis import critical_path, flame
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.reporters import critical_path_report, flame_table, phase_list, waterfall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchwatch.analysis.time_spent import Spent
    from orchwatch.store.outlines import Outline


def drawn(view: str, spans: Sequence[Outline], turns: Sequence[Spent], columns: int) -> str:
    """One of `VIEWS` of a trace, and where the time of its turns went.

    Args:
        view: Its name.
        spans: All of the trace.
        turns: Those in it.
        columns: How wide a line may be.
    """
    file = StringIO()
    phase_list.render_turns(turns, file)
    said = file.getvalue()
    return (f"{said}\n" if said else "") + VIEWS[view](spans, columns)


def _waterfall(spans: Sequence[Outline], columns: int) -> str:
    tree, file = SpanTree(spans), StringIO()
    waterfall.render(tree, critical_path.walked(tree), file, columns)
    return file.getvalue()


def _flame(spans: Sequence[Outline], _: int) -> str:
    file = StringIO()
    flame_table.render(f"trace {spans[0].trace_id}", flame.of_spans(spans), file)
    return file.getvalue()


def _critical_path(spans: Sequence[Outline], _: int) -> str:
    tree, file = SpanTree(spans), StringIO()
    critical_path_report.render(tree, critical_path.measure(tree), file)
    return file.getvalue()


VIEWS: dict[str, Callable[[Sequence[Outline], int], str]] = {
    "waterfall": _waterfall,
    "flame": _flame,
    "critical path": _critical_path,
}
"""How a trace can be looked at, by name."""
