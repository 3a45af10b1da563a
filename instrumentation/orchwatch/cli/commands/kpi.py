"""`orchwatch kpi`: the key figures, and a way to say what nothing here can measure."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options
from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

HELP = "list the key figures, or set one that only you can measure"

_WINDOW = "1h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's own commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|set")
    listing = actions.add_parser("list", help="every key figure; a dash where it was not measured")
    options.add_format(listing)
    filters.add_arguments(listing, _WINDOW)
    setting = actions.add_parser(
        "set", help="keep a figure until a newer one is set or found in the project's files"
    )
    setting.add_argument(
        "name", metavar="NAME", help="test.coverage, code.quality or documentation.coverage"
    )
    setting.add_argument(
        "value", metavar="VALUE", help="a share like 0.83 or 83%%, or points of 10"
    )


def run(arguments: argparse.Namespace) -> int:
    """Lists or sets."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.recording.home import home  # noqa: PLC0415

    directory = Path(home())
    if arguments.action == "set":
        from orchwatch.analysis import project  # noqa: PLC0415

        if arguments.name not in project.HIGHEST:
            hint = did_you_mean(arguments.name, project.HIGHEST)
            known = hint or f"set {', '.join(project.HIGHEST)}"
            raise UsageError(f"kpi set: {arguments.name!r} is computed or unknown; {known}")
        value = _number(arguments.value)
        project.set_by_hand(directory, arguments.name, value, time.time_ns())
        sys.stdout.write(f"{arguments.name} is {arguments.value} until a newer figure is found\n")
        return 0
    from orchwatch.analysis.status import Gatherer  # noqa: PLC0415
    from orchwatch.reporters import kpi_list  # noqa: PLC0415

    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        within = chosen.selection
        gatherer = Gatherer(directory, store, Path.cwd(), None, within=within, refresh=False)
        system, business = gatherer.measure_system(), gatherer.measure_business()
    if arguments.format == "json":
        kpi_list.render_json(system, business, sys.stdout)
    else:
        from orchwatch.cli.parser import columns  # noqa: PLC0415

        covered = chosen.note or _covered(chosen.words)
        kpi_list.render(system, business, covered, sys.stdout, columns())
    return 0


def _covered(words: str) -> str:
    if not words:
        return "All that was recorded."
    return f"What was recorded {words}; --since looks further back."


def _number(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"kpi set: VALUE must be a number or a percentage, not {text!r}") from None
