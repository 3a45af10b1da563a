"""`orchwatch fleet status`: who this machine is in its fleet, and whether it gets through."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import options
from orchwatch.errors import CheckFailedError, OrchwatchError

if TYPE_CHECKING:
    import argparse

HELP = "show where this machine sends to, and whether the gateway takes it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    options.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints it.

    Raises:
        OrchwatchError: This machine has joined no fleet, or a file is broken.
        CheckFailedError: The gateway does not take what it would send, or the agent does not run.
    """
    from orchwatch.diagnosis.fleet import gateway, machine, membership  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.reporters import fleet  # noqa: PLC0415 - as above

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
