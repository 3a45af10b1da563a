"""`orchwatch report`: all of it at once, for a person, a pull request or a program."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from orchwatch.cli import destination, filters

if TYPE_CHECKING:
    import argparse

HELP = "write a report: targets, changes, slow traces, hooks, key figures, forecasts, alerts"

_NAME = "report"
_FORMATS = ("html", "md", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="html",
        help="html: one file that works offline; md: for a pull request (default: %(default)s;"
        " docs/json.md has the keys of json)",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare with the baseline of this name (default: with as long before the window)",
    )
    destination.add_argument(parser)
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes it.

    Raises:
        UsageError: A window is invalid.
        OrchwatchError: The store cannot be read, or the file not be written.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import report  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import report_document, report_page  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        found = report.gather(
            directory,
            Path.cwd(),
            store,
            chosen.selection,
            chosen.words,
            baseline=arguments.baseline,
        )
    file = io.StringIO()
    title = f"Report of {Path.cwd().name}" if Path.cwd().name else "Report"
    if arguments.format == "html":
        file.write(report_page.page(found, title))
    elif arguments.format == "md":
        report_document.render_markdown(found, title, file)
    else:
        report_document.render_json(found, file)
    destination.write(_NAME, arguments, file.getvalue())
    return 0
