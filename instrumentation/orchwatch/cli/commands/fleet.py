"""`orchwatch fleet`: this machine among others, one module a sub-command."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

HELP = "many machines, one picture: join a gateway, run the agent, manage tokens"

COMMANDS = ("join", "run", "status", "resend", "leave", "token")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their own options."""
    commands = parser.add_subparsers(dest="fleet_command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _module(name)
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))


def run(arguments: argparse.Namespace) -> int:
    """Runs the sub-command."""
    return int(_module(arguments.fleet_command).run(arguments))


def _module(name: str) -> ModuleType:
    return import_module(f"orchwatch.cli.commands.fleet_{name}")
