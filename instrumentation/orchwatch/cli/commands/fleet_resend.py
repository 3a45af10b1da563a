"""`orchwatch fleet resend`: sends again, and counts, what a refused token had the agent drop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters
from orchwatch.errors import CheckFailedError, OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse

HELP = "send again, and count, what the fleet's Tempo does not have because a token was refused"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    filters.add_arguments(parser)
    parser.add_argument(
        "--tempo-url", metavar="URL", help="the fleet's Tempo (default: ORCHWATCH_TEMPO_URL)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say how many, and send nothing")


def run(arguments: argparse.Namespace) -> int:
    """Finds them, and appends them to the spool, which the agent reads.

    Raises:
        UsageError: It is not known where Tempo is.
        OrchwatchError: This machine has joined no fleet, the gateway refuses its token still, or
            Tempo cannot be asked.
        CheckFailedError: `--dry-run`, and there are some.
    """
    import os  # noqa: PLC0415 - slow, see `commands`, and so are the next ones
    from pathlib import Path  # noqa: PLC0415

    from orchwatch.diagnosis import audit, resend  # noqa: PLC0415
    from orchwatch.diagnosis.fleet import membership, resent  # noqa: PLC0415
    from orchwatch.recording import stack_access  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.store.database import Store  # noqa: PLC0415
    from orchwatch.units import counted  # noqa: PLC0415

    directory = Path(home())
    with Store(directory) as store:
        chosen = filters.chosen(arguments, store, directory, moved=False)
        tempo_url = arguments.tempo_url or os.environ.get("ORCHWATCH_TEMPO_URL")
        if not tempo_url:
            raise UsageError("--tempo-url or ORCHWATCH_TEMPO_URL must say where Tempo is")
        joined = membership.read()
        if joined is None:
            raise OrchwatchError("this machine has joined no fleet; orchwatch fleet join URL does")
        # Else it would be dropped again.
        joined.gateway.take_nothing(membership.token())
        held = audit.in_tempo(store, stack_access.below_path(tempo_url), selection=chosen.selection)
        absent = held.lost + held.undelivered
        waiting = resent.on_their_way()
        missing = [one for one in absent if one not in waiting]
        sent = 0
        if missing and not arguments.dry_run:
            # First: what is sent and not noted would be counted again.
            resent.note(missing)
            sent = resend.resend(store, missing, counted=True)
    sys.stdout.write(
        f"{counted(held.expected, 'span')} recorded here {chosen.words}: Tempo has {held.found},"
        f" {held.pending + len(absent) - len(missing)} may be on their way,"
        f" {len(missing)} are missing\n"
    )
    if arguments.dry_run and missing:
        raise CheckFailedError(f"missing in Tempo: {counted(len(missing), 'span')}")
    if sent:
        sys.stdout.write(f"{counted(sent, 'span')} sent again, and counted where they were to be\n")
    return 0
