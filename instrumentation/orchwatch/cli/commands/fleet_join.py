"""`orchwatch fleet join`: this machine sends to a gateway from now on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.errors import CheckFailedError, OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse

HELP = "join a fleet: try the gateway with one operation, then keep where to send to"

_MAX_TOKEN_BYTES = 65536
_STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("url", metavar="URL", help="the gateway, e.g. https://gateway:4318")
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file", metavar="FILE", help="the file that holds the token; -: standard input"
    )
    token.add_argument(
        "--token", metavar="TOKEN", help="the token itself, which other users of this machine see"
    )
    parser.add_argument("--team", metavar="NAME", help="what to group machines by")
    parser.add_argument(
        "--ca", metavar="FILE", help="the authority of the gateway's certificate, in PEM"
    )
    parser.add_argument(
        "--tempo-url",
        metavar="URL",
        help="look for the operation in the fleet's Tempo, too (default: ORCHWATCH_TEMPO_URL)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Tries the gateway; only where that goes well, anything is written.

    Joining the same gateway again keeps what is not said anew.

    Raises:
        UsageError: The address, the token or a name is invalid.
        OrchwatchError: The gateway cannot be reached or refuses the token, or a file cannot be
            read or written.
        CheckFailedError: Tempo does not have the operation.
    """
    import os  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.diagnosis.fleet import gateway, machine, membership  # noqa: PLC0415
    from orchwatch.recording import stack_access  # noqa: PLC0415

    url = gateway.checked_url(arguments.url)
    try:
        before = membership.read()
    except OrchwatchError:
        before = None  # broken: it is written anew
    if before is not None and before.url != url:
        before = None
    team = before.team if before else ""
    if arguments.team:
        team = machine.checked_name("--team", arguments.team)
    ca = arguments.ca or (before.gateway.ca if before else "")
    authorities = membership.read_authorities(ca) if ca else b""
    token = _token(arguments, kept=before is not None)
    name, identity = machine.host_name(), machine.machine_id()
    resource = {
        semconv.SERVICE_NAME: "orchwatch",
        semconv.HOST_ID: identity,
        semconv.HOST_NAME: name,
        **({semconv.TEAM: team} if team else {}),
    }
    operation = gateway.Operation.now(resource)
    try:
        gateway.Gateway(url=url, ca=ca).take(token, operation)
    except gateway.TokenRefusedError as error:
        raise OrchwatchError(
            f"{error}: it is not one of its own, or was revoked; `orchwatch fleet token add {name}`"
            " makes one there"
        ) from error
    tempo_url = arguments.tempo_url or os.environ.get("ORCHWATCH_TEMPO_URL")
    if tempo_url and not operation.arrives(tempo_url):
        raise CheckFailedError(
            f"the gateway took an operation, and Tempo at {stack_access.without_secret(tempo_url)}"
            f" does not have it after {gateway.ARRIVES_WITHIN_S:.0f} s; nothing was kept"
        )
    membership.write(
        membership.Membership(url=url, team=team, own_ca=bool(ca)),
        token=token,
        authorities=authorities,
    )
    where = "and Tempo has it" if tempo_url else "(--tempo-url looks for it in Tempo, too)"
    sys.stdout.write(
        f"{name} has joined {url} as {identity}\n"
        f"the gateway took one operation {where}\n"
        "orchwatch fleet run    # starts the agent that sends\n"
    )
    return 0


def _token(arguments: argparse.Namespace, *, kept: bool) -> str:
    from orchwatch.diagnosis.fleet import membership  # noqa: PLC0415 - as above
    from orchwatch.recording import files  # noqa: PLC0415

    if arguments.token is not None:
        return membership.checked_token(arguments.token)
    if arguments.token_file == _STDIN:
        if sys.stdin is None:
            raise UsageError("--token-file -: standard input is closed")
        return membership.checked_token(sys.stdin.read(_MAX_TOKEN_BYTES))
    if arguments.token_file is not None:
        path = arguments.token_file
        try:
            text = files.read(path, _MAX_TOKEN_BYTES).decode()
        except OSError as error:
            raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise OrchwatchError(f"{path}: holds no token") from error
        return membership.checked_token(text)
    if kept:
        return membership.token()
    raise UsageError("the token is missing; --token-file - reads it from standard input")
