"""`orchwatch audit`: what was emitted against what Tempo and Prometheus hold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options
from orchwatch.errors import CheckFailedError

if TYPE_CHECKING:
    import argparse

HELP = "compare what was emitted with what Tempo and Prometheus hold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    options.add_format(parser)
    filters.add_arguments(parser)
    parser.add_argument(
        "--resend",
        action="store_true",
        help="send spans that are missing in Tempo again, without counting them again",
    )
    for server in ("Tempo", "Prometheus"):
        parser.add_argument(
            f"--{server.lower()}-url",
            metavar="URL",
            help=f"default: ORCHWATCH_{server.upper()}_URL, else where the local stack runs",
        )


def run(arguments: argparse.Namespace) -> int:
    """Prints the audit.

    Raises:
        CheckFailedError: Something is missing, or a count differs for no known reason.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.diagnosis import audit, client, resend, servers  # noqa: PLC0415
    from orchwatch.recording import stack_access  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import findings  # noqa: PLC0415
    from orchwatch.store.database import Store  # noqa: PLC0415
    from orchwatch.units import counted  # noqa: PLC0415

    collector, prometheus, tempo, _ = servers.servers()
    directory = Path(home())
    with Store(directory) as store:
        chosen = filters.chosen(arguments, store, directory, moved=False)
        found = audit.examine(
            store,
            tempo_url=stack_access.below_path(arguments.tempo_url or tempo.url),
            prometheus_url=arguments.prometheus_url or prometheus.url,
            selection=chosen.selection,
            progress=_progress,
        )
        resent = 0
        if arguments.resend:
            runs = bool(found.tempo.undelivered) and client.answers(
                collector.url + collector.ready_path
            )
            missing = found.tempo.lost + (found.tempo.undelivered if runs else ())
            resent = resend.resend(store, missing)
    render = findings.render_json if arguments.format == "json" else findings.render_table
    render(found, resent, sys.stdout)
    gone = len(found.tempo.lost) + len(found.tempo.undelivered)
    if gone:
        raise CheckFailedError(f"missing in Tempo: {counted(gone, 'span')}")
    if not found.counting_is_explained:
        raise CheckFailedError("Prometheus counted differently, for no known reason")
    return 0


def _progress(done: int, of_all: int) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        from orchwatch.reporters import progress  # noqa: PLC0415 - as above

        end = "\n" if done == of_all else ""
        progress.write_control(sys.stderr, f"\rasked Tempo for {done} of {of_all} spans{end}")
