"""docs/cli.md: every command with its arguments, as the parsers have them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchwatch.cli.main import COMMANDS, command_module, command_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "docs/cli.md"

_HEAD = """\
<!-- generated from the commands by orchwatch generate: do not edit -->
# Commands

`orchwatch COMMAND --help` says the same. Exit codes: 0 fine, 1 error, 2 usage, 3 a check failed
(missing data, drift, …); `orchwatch run` passes on its command's.

On a terminal, an answer that is longer than it comes in `$PAGER` (`less`; `cat` or an empty one for
none); JSON, pipes and files never do, and `--no-pager` before or after the command writes all at
once. `orchwatch completion bash|zsh|fish` has the words, options and values for your shell.
"""


def page() -> str:
    """The whole file."""
    return "\n".join([_HEAD, *_commands()])


def _commands() -> Iterator[str]:
    for name in COMMANDS:
        module = command_module(name)
        if hasattr(module, "USAGE"):
            yield f"## orchwatch {name}\n\n{_sentence(module.HELP)}\n\n```\n{module.USAGE}```\n"
        else:
            yield from _sections(command_parser(name), module.HELP)


def _sections(parser: argparse.ArgumentParser, description: str) -> Iterator[str]:
    arguments = []
    inner: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, child in action.choices.items():
                inner += _sections(child, helps[name])
        elif not isinstance(action, argparse._HelpAction):
            arguments.append(action)
    text = f"## {parser.prog}\n\n{_sentence(description)}\n"
    if arguments:
        rows = [f"| `{_cell(_spelling(one))}` | {_cell(_help(one))} |" for one in arguments]
        text += "\n".join(["", "| argument | meaning |", "| --- | --- |", *rows]) + "\n"
    yield text
    yield from inner


def _spelling(action: argparse.Action) -> str:
    """`--format table|json`, `ID`: as one writes it, whatever Python's own layout is."""
    value = ""
    if action.nargs != 0:
        given = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
        value = given if isinstance(given, str) else " ".join(given)
    if action.nargs == argparse.OPTIONAL:
        value = f"[{value}]"
    elif action.nargs in (argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE):
        value += " ..."
    return " ".join(filter(None, [", ".join(action.option_strings), value]))


def _help(action: argparse.Action) -> str:
    return (action.help or "") % vars(action)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
