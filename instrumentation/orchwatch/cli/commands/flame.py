"""`orchwatch flame`: where time went by call path, of a trace or of all that options select."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

from orchwatch.cli import destination, filters, which_spans, window
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from orchwatch.analysis.flame import Flame
    from orchwatch.cli.which_spans import Side
    from orchwatch.store.database import Store
    from orchwatch.store.small import SmallStore

HELP = "show where time went by call path, and what changed: terminal, HTML, or a profiler's file"

_NAME = "flame"
_FORMATS = ("table", "json", "html", "folded", "speedscope", "chrome")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "trace_id",
        nargs="?",
        metavar="ID",
        help="a trace's id, or the first digits of it (default: all that the options select,"
        " without any the latest trace)",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="table",
        help="default: %(default)s; chrome is for Perfetto, too, and has each span in time",
    )
    destination.add_argument(parser)
    parser.add_argument(
        "--against",
        metavar="WHAT",
        help="compare per trace with the trace or session whose id begins so, or with a range"
        " such as 48h..24h",
    )
    filters.add_arguments(parser, window.ALL)


def run(arguments: argparse.Namespace) -> int:
    """Writes the graph.

    Raises:
        OrchwatchError: Nothing is stored, or the file cannot be written.
        UsageError: What is asked for does not go together.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.recording.home import home  # noqa: PLC0415

    if arguments.format == "chrome" and arguments.against is not None:
        raise UsageError("flame: --format chrome has no place for --against")
    directory = Path(home())
    file = io.StringIO()
    with filters.opened(directory) as store:
        now = _asked(arguments, store, directory)
        before = None
        if arguments.against is not None:
            before = which_spans.side(
                _NAME, arguments.against, arguments, store, directory, option="--against"
            )
        if arguments.format == "chrome":
            from orchwatch.analysis.span_tree import SpanTree  # noqa: PLC0415
            from orchwatch.reporters import flame_files  # noqa: PLC0415

            tree = SpanTree(now.spans(), as_recorded=True)
            write = partial(flame_files.chrome, tree, now.title)
            destination.stream(_NAME, arguments, write)
            return 0
        _write(arguments.format, [one for one in (now, before) if one], store, file)
    destination.write(_NAME, arguments, file.getvalue())
    return 0


def _write(form: str, sides: Sequence[Side], store: Store | SmallStore, file: TextIO) -> None:
    """Writes one graph, or the first against the second."""
    from orchwatch.analysis import flame_diff  # noqa: PLC0415 - as above
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.reporters import flame_files, flame_page, flame_table  # noqa: PLC0415

    graphs = [_graph(side, store) for side in sides]
    graph, title = graphs[0], ", against ".join(side.title for side in sides)
    diff = flame_diff.compare(*graphs) if len(graphs) > 1 else None
    shown = graph if diff is None else diff.flame
    changes = None if diff is None else diff.changes
    if form == "json":
        flame_table.render_json(shown, changes, file)
    elif form == "html":
        told = flame_table.summary(graph) if diff is None else flame_table.diff_summary(diff)
        file.write(flame_page.page(flame_page.Page(title=title, summary=told), shown, changes))
    elif form == "speedscope":
        titles = [side.title for side in sides]
        flame_files.speedscope(list(zip(titles, graphs, strict=True)), file)
    elif form == "folded":
        flame_files.folded(graph, file) if diff is None else flame_files.folded_diff(diff, file)
    elif diff is None:
        flame_table.render(title, graph, file, columns())
    else:
        flame_table.render_diff(title, diff, file, columns())


def _graph(side: Side, store: Store | SmallStore) -> Flame:
    from orchwatch.analysis import flame, flame_query  # noqa: PLC0415 - as above

    if side.selection is not None:
        found = flame_query.merged(store, side.selection)
        if found.frames:
            return found
    return flame.of_spans(side.spans())


def _asked(arguments: argparse.Namespace, store: Store | SmallStore, directory: Path) -> Side:
    if arguments.trace_id:
        which_spans.id_alone(_NAME, arguments)
        found = which_spans.of_trace(_NAME, arguments.trace_id, store, directory)
        return which_spans.trace(found)
    chosen = filters.chosen(arguments, store, directory)
    if not filters.given(arguments):
        return which_spans.trace(which_spans.latest_trace(_NAME, chosen, store, directory))
    return which_spans.all_selected(_NAME, chosen, store, directory)
