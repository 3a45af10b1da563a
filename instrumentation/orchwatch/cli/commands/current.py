"""`orchwatch current`: every operation against its target, from what is stored on this machine."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse

HELP = "show every operation against its target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    options.add_format(parser)
    filters.add_arguments(parser)
    options.add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the snapshot."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis.status import Gatherer  # noqa: PLC0415
    from orchwatch.recording import otlp_services  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.store import own_metrics  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        within = chosen.selection
        gatherer = Gatherer(directory, store, Path.cwd(), None, within=within, refresh=False)
        gatherer.measure_system()
        phases = gatherer.measure_business().phases
        own = {}
        if not within.filters:  # they belong to no session, agent or operation
            window = {"since_ns": within.since_ns, "until_ns": within.until_ns}
            own = own_metrics.read(directory, gatherer.targets.levels, **window)
        elsewhere = otlp_services.read(str(directory), since_ns=within.since_ns or 0)
        taken = gatherer.take(own).snapshot
        taken = replace(taken, elsewhere=tuple(elsewhere), phases=phases)
    if arguments.format == "json":
        from orchwatch.reporters import document  # noqa: PLC0415

        document.render(taken, sys.stdout)
        return 0
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.reporters import colour, table  # noqa: PLC0415

    if chosen.note:
        sys.stdout.write(chosen.note + "\n\n")
    elif not taken.outside and not any(reading.count for reading in taken.operations):
        sys.stdout.write(
            f"Nothing was measured yet in {safe(str(directory))}.\n"
            'Put `with operation("state.query"):` around some work, take in recorded sessions\n'
            "with `orchwatch import`, or run `orchwatch demo`.\n\n"
        )
    coloured = colour.wanted(sys.stdout, arguments.color)
    table.render(taken, sys.stdout, colour=coloured, columns=columns())
    return 0
