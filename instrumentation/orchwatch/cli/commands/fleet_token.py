"""`orchwatch fleet token`: which tokens a gateway takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HELP = "on the gateway's side: make, list and revoke the tokens of machines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their own options."""
    commands = parser.add_subparsers(dest="token_command", metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="make a token of a machine, and print it this once")
    add.add_argument("machine", metavar="MACHINE", help="whose it is; others of it stay valid")
    shown = commands.add_parser("list", help="list them, without what must stay secret")
    options.add_format(shown)
    revoke = commands.add_parser("revoke", help="have the gateway refuse a token from now on")
    revoke.add_argument("which", metavar="ID|MACHINE", help="one token, or all of a machine")
    for parser_of in (add, shown, revoke):
        parser_of.add_argument(
            "--file",
            metavar="FILE",
            help="the gateway's file of tokens (default: fleet/gateway/tokens in ORCHWATCH_HOME)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Runs the sub-command.

    Raises:
        OrchwatchError: The file cannot be read or written, or has no such token.
    """
    from orchwatch.diagnosis.fleet import tokens  # noqa: PLC0415 - slow, see `commands`

    commands: dict[str, Callable[[argparse.Namespace, str], None]] = {
        "add": _add,
        "list": _list,
        "revoke": _revoke,
    }
    commands[arguments.token_command](arguments, arguments.file or tokens.default_path())
    return 0


def _add(arguments: argparse.Namespace, path: str) -> None:
    from orchwatch.diagnosis.fleet import tokens  # noqa: PLC0415 - as above

    sys.stdout.write(f"{tokens.add(path, arguments.machine).token}\n")


def _list(arguments: argparse.Namespace, path: str) -> None:
    from orchwatch.diagnosis.fleet import tokens  # noqa: PLC0415 - as above
    from orchwatch.reporters import fleet  # noqa: PLC0415

    found = tokens.listed(path)
    if arguments.format == "json":
        fleet.render_tokens_json(found, sys.stdout)
    else:
        fleet.render_tokens(found, path, sys.stdout)


def _revoke(arguments: argparse.Namespace, path: str) -> None:
    from orchwatch.diagnosis.fleet import tokens  # noqa: PLC0415 - as above

    for gone in tokens.revoke(path, arguments.which):
        sys.stdout.write(f"revoked {gone.id} of {gone.machine}, made {gone.created}\n")
