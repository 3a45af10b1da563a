"""`orchwatch fleet status`: who this machine is in its fleet, and whether it gets through."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.cli import options
from orchwatch.errors import CheckFailedError, OrchwatchError

if TYPE_CHECKING:
    import argparse

HELP = "show where this machine sends to, and whether the gateway takes it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    options.add_format(parser)
    parser.add_argument(
        "--tempo-url",
        metavar="URL",
        help="send one operation through the agent, and look for it in the fleet's Tempo (default:"
        " ORCHWATCH_TEMPO_URL)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints it.

    Raises:
        OrchwatchError: This machine has joined no fleet, or a file is broken.
        CheckFailedError: The gateway does not take what it would send, or the agent does not run.
    """
    import os  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.diagnosis.fleet import gateway, machine, membership  # noqa: PLC0415
    from orchwatch.recording import spool, stack_access  # noqa: PLC0415
    from orchwatch.reporters import fleet  # noqa: PLC0415

    joined = membership.read()
    if joined is None:
        raise OrchwatchError("this machine has joined no fleet; orchwatch fleet join URL does")
    problems = []
    try:
        joined.gateway.take_nothing(membership.token())
    except gateway.TokenRefusedError as error:
        problems.append(
            f"{error}: it was revoked. The agent drops what it sends until `orchwatch fleet join"
            f" {joined.url}` has a new one; `orchwatch fleet resend` finds what was dropped"
        )
    except OrchwatchError as error:
        problems.append(str(error))
    if not membership.agent_runs():
        problems.append("the agent does not run; orchwatch fleet run starts it")
    tempo_url = arguments.tempo_url or os.environ.get("ORCHWATCH_TEMPO_URL")
    if tempo_url and not problems:
        operation = gateway.Operation.now({semconv.SERVICE_NAME: "orchwatch"})
        # What is sent again is stored and not counted, and neither is this.
        if not spool.append(spool.UNDELIVERED, operation.line):
            raise OrchwatchError("the spool cannot be written; see orchwatch doctor")
        if not operation.arrives(tempo_url):
            problems.append(
                f"Tempo at {stack_access.without_secret(tempo_url)} does not have an operation that"
                f" was recorded here {gateway.ARRIVES_WITHIN_S:.0f} s ago"
            )
    status = fleet.Status(
        host_id=machine.machine_id(),
        host_name=machine.host_name(),
        url=joined.url,
        team=joined.team or None,
        problems=tuple(problems),
    )
    render = fleet.render_status_json if arguments.format == "json" else fleet.render_status
    render(status, sys.stdout)
    if problems:
        raise CheckFailedError(problems[0])
    return 0
