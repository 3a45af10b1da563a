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
_FOUND_WITHIN_S = 30.0
_ASK_EVERY_S = 0.5


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

    Raises:
        UsageError: The address, the token or a name is invalid.
        OrchwatchError: The gateway cannot be reached or refuses the token, or a file cannot be
            read or written.
        CheckFailedError: Tempo does not have the operation.
    """
    import os  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.diagnosis.fleet import gateway, machine, membership  # noqa: PLC0415

    url = gateway.checked_url(arguments.url)
    team = machine.checked_name("--team", arguments.team) if arguments.team else ""
    authorities = membership.read_authorities(arguments.ca) if arguments.ca else b""
    before = membership.read()
    token = _token(arguments, kept=before is not None and before.url == url)
    name, identity = machine.host_name(), machine.machine_id()
    resource = {
        semconv.SERVICE_NAME: "orchwatch",
        semconv.HOST_ID: identity,
        semconv.HOST_NAME: name,
        **({semconv.TEAM: team} if team else {}),
    }
    place = gateway.Gateway(url=url, ca=arguments.ca or "")
    try:
        trace_id, span_id = place.take_operation(token, resource)
    except gateway.TokenRefusedError as error:
        raise OrchwatchError(
            f"{error}: it is not one of its own, or was revoked; `orchwatch fleet token add {name}`"
            " makes one there"
        ) from error
    tempo_url = arguments.tempo_url or os.environ.get("ORCHWATCH_TEMPO_URL")
    if tempo_url:
        _find(tempo_url, trace_id, span_id)
    membership.write(
        membership.Membership(url=url, team=team, own_ca=bool(arguments.ca)),
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


def _find(tempo_url: str, trace_id: str, span_id: str) -> None:
    """Waits until Tempo has a span.

    Raises:
        CheckFailedError: It does not.
    """
    import time  # noqa: PLC0415 - as above

    from orchwatch.diagnosis import tempo  # noqa: PLC0415
    from orchwatch.recording import stack_access  # noqa: PLC0415

    root = stack_access.below_path(tempo_url)
    now_s = int(time.time())
    deadline = time.monotonic() + _FOUND_WITHIN_S
    while tempo.missing(root, {trace_id: [span_id]}, start_s=now_s - 60, end_s=now_s + 60):
        if time.monotonic() > deadline:
            raise CheckFailedError(
                f"the gateway took an operation, and after {_FOUND_WITHIN_S:.0f} s Tempo at"
                f" {stack_access.without_secret(tempo_url)} does not have it; nothing was kept"
            )
        time.sleep(_ASK_EVERY_S)
