"""`orchwatch export`: what is measured, in the formats that other programs read."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

from orchwatch.cli import destination, filters, window
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore

HELP = "write what is measured for other programs: Prometheus, JSON, CSV, Parquet, Grafana"

_NAME = "export"
_FORMATS = ("prometheus", "json", "csv", "parquet", "grafana")
_NS = 1_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        help="prometheus: operations, key figures and own metrics under the stack's names, of all"
        " time unless --since says otherwise, without imported history; grafana: the dashboards'"
        " JSON by page (default: json; docs/json.md has its keys)",
    )
    parser.add_argument(
        "--step",
        metavar="LENGTH",
        help="a row for each operation in each step of the range, such as 5m or 1h, instead of"
        " one for the whole",
    )
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        help="instead, a file for a bug report: names, times and outcomes of all spans, which"
        " orchwatch dashboard --replay opens",
    )
    destination.add_argument(parser)
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes it.

    Raises:
        UsageError: What is asked for does not go together.
        OrchwatchError: The store cannot be read, or the file not be written.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.recording.home import home  # noqa: PLC0415

    if arguments.bundle is not None:
        return _bundle(arguments, Path(home()))
    arguments.format = arguments.format or "json"
    if arguments.format == "parquet":
        destination.parquet_path(_NAME, arguments)
    step_ns = _step_ns(arguments)
    if arguments.format == "grafana":
        destination.write(_NAME, arguments, _dashboards(arguments))
        return 0
    if arguments.format == "prometheus" and not (arguments.since or arguments.until):
        arguments.since = window.ALL  # counters that never fall
    directory = Path(home())
    with filters.opened(directory) as store:
        # A window that moved would be another one than was asked for.
        selection = filters.chosen(arguments, store, directory, moved=False).selection
        if arguments.format == "prometheus":
            text = _prometheus(directory, store, selection)
        else:
            rows = _rows(directory, store, selection, step_ns)
    if arguments.format == "prometheus":
        destination.write(_NAME, arguments, text)
        return 0
    from orchwatch.reporters import figure_rows  # noqa: PLC0415

    if arguments.format == "parquet":
        from orchwatch.store import parquet_file  # noqa: PLC0415

        spill = directory / "store" / "spill"
        destination.write_parquet(
            _NAME,
            arguments,
            lambda path: parquet_file.write(rows, figure_rows.COLUMNS, path, spill),
        )
        return 0
    file = io.StringIO()
    write = figure_rows.render_json if arguments.format == "json" else figure_rows.render_csv
    write(rows, file)
    destination.write(_NAME, arguments, file.getvalue())
    return 0


def _bundle(arguments: argparse.Namespace, directory: Path) -> int:
    """Packs the spans that are selected, and says how many."""
    from orchwatch.recording.safe_text import quoted, safe  # noqa: PLC0415
    from orchwatch.store import bundle, outlines  # noqa: PLC0415
    from orchwatch.units import counted, size  # noqa: PLC0415

    for option, given in (
        ("--format", arguments.format),
        ("--step", arguments.step),
        ("--output", arguments.output),
    ):
        if given is not None:
            raise UsageError(
                f"export: --bundle is a file of its own, so {option} does not go with it"
            )
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        found = outlines.selected(store, chosen.selection)
    if not found:
        within = chosen.words or "yet"
        more = "" if chosen.selection.since_ns is None else "; --since all takes in all there is"
        raise OrchwatchError(f"export: nothing is stored in {directory} {within}{more}")
    packed = bundle.packed(found)
    destination.put(_NAME, arguments.bundle, packed)
    sys.stdout.write(
        f"{safe(arguments.bundle)}: {counted(len(found), 'span')}, {size(len(packed))};"
        " names, times and outcomes only.\n"
        f"orchwatch dashboard --replay {quoted(arguments.bundle)} opens it.\n"
    )
    return 0


def _step_ns(arguments: argparse.Namespace) -> int | None:
    if arguments.step is None:
        return None
    if arguments.format in ("prometheus", "grafana"):
        raise UsageError(f"export: --format {arguments.format} has no place for --step")
    length_s = None if arguments.step == window.ALL else window.length_s(arguments.step, "--step")
    if not length_s:
        raise UsageError(f"--step must be a length such as 5m or 1h, not {arguments.step!r}")
    return length_s * _NS


def _rows(
    directory: Path, store: Store | SmallStore, selection: Selection, step_ns: int | None
) -> list[dict[str, object]]:
    from pathlib import Path  # noqa: PLC0415 - as above

    from orchwatch.analysis import status  # noqa: PLC0415
    from orchwatch.reporters import figure_rows  # noqa: PLC0415
    from orchwatch.store import own_metrics, steps  # noqa: PLC0415
    from orchwatch.targets import target_table  # noqa: PLC0415

    if step_ns is not None:
        table = target_table.load()
        targets_s = {row.id: row.target_s for row in table.operations.values()}
        found = steps.read(store, selection, step_ns=step_ns, targets_s=targets_s)
        return figure_rows.of_steps(found, step_ns, table)
    gatherer = status.Gatherer(directory, store, Path.cwd(), None, within=selection, refresh=False)
    system, business = gatherer.measure_system(), gatherer.measure_business()
    own = {}
    if not selection.filters:  # they belong to no session, agent or operation
        between = {"since_ns": selection.since_ns, "until_ns": selection.until_ns}
        own = own_metrics.read(directory, gatherer.targets.levels, **between)
    taken = gatherer.take(own).snapshot
    return figure_rows.of_snapshot(taken, status.kpi_values(system, business))


def _prometheus(directory: Path, store: Store | SmallStore, selection: Selection) -> str:
    from dataclasses import replace  # noqa: PLC0415 - as above
    from pathlib import Path  # noqa: PLC0415

    from orchwatch.analysis import kpi_export, status  # noqa: PLC0415
    from orchwatch.reporters import prometheus_text  # noqa: PLC0415
    from orchwatch.store import histograms, own_metrics, spans  # noqa: PLC0415

    here = replace(selection, history=False)
    gatherer = status.Gatherer(directory, store, Path.cwd(), None, within=here, refresh=False)
    gauges = kpi_export.of_business(gatherer.measure_business())
    own = {}
    if not selection.filters:  # they belong to no session, agent or operation
        between = {"since_ns": selection.since_ns, "until_ns": selection.until_ns}
        own = own_metrics.read(directory, gatherer.targets.levels, **between)
        if selection.until_ns is None:
            gauges += kpi_export.of_system(gatherer.measure_system())
    edges_s = gatherer.targets.edges_s
    found = histograms.read(store, here, [spans.whole_ns(edge_s) for edge_s in edges_s])
    file = io.StringIO()
    prometheus_text.render(found, edges_s, gauges, own.values(), file)
    return file.getvalue()


def _dashboards(arguments: argparse.Namespace) -> str:
    given = filters.given(arguments)
    if given:
        raise UsageError(f"export: dashboards are of no time, so {given[0]} has nothing to choose")
    from orchwatch.mixin import dashboards  # noqa: PLC0415 - as above
    from orchwatch.targets import target_table  # noqa: PLC0415

    table = target_table.load()
    pages = {page: json.loads(dashboards.text(page, table)) for page in dashboards.PAGES}
    return json.dumps(pages, indent=2) + "\n"
