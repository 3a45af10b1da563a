"""The parser of every command that has one: its complaints are one line, and say what was meant."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


_COLUMNS = 80
# The words of another program, of which one may be empty.
_THEIRS = "command"


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal. By default `shutil` is asked, for each option, and its import."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


class Parser(argparse.ArgumentParser):
    """Options are taken as they are spelt; the error for a misspelt one suggests the nearest."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Formatter, **settings})

    def parse_args(self, words: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parses all words.

        Raises:
            UsageError: They do not fit.
        """
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            known = {word for parser in self._all() for word in parser._option_string_actions}
            given = unknown[0].partition("=")[0]
            # It may be another sub-command's.
            hint = did_you_mean(given, sorted(known - {given}))
            self.error(f"unknown argument {unknown[0]!r}" + (f"; {hint}" if hint else ""))
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses what it knows; nothing means anything when it is empty, so it was a mistake.

        Raises:
            UsageError: An option or a word has an empty value, or no command stands behind `--`.
        """
        words = list(args)
        if "--" in words[-1:] and words.index("--") == len(words) - 1:
            for action in self._actions:
                if action.dest == _THEIRS:
                    self.error(f"no {action.metavar} stands behind --")
        found, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:
            if action.dest == _THEIRS or action.const == "":
                continue
            value = getattr(found, action.dest, None)
            if "" in (value if isinstance(value, list) else [value]):
                name = action.option_strings[-1] if action.option_strings else action.metavar
                command = self.prog.removeprefix("orchwatch ")
                raise UsageError(f"{command}: {name} must not be empty")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            hint = did_you_mean(str(value), map(str, action.choices))
            known = ", ".join(map(str, action.choices))
            said = f"{name} must be one of {known}, not {value!r}"
            raise argparse.ArgumentError(None, said + (f"; {hint}" if hint else ""))

    def error(self, message: str) -> NoReturn:
        """Raises instead of writing to stderr and ending the process.

        Raises:
            UsageError: Always.
        """
        command = self.prog.removeprefix("orchwatch ")
        raise UsageError(f"{command}: {message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        # The one of the library drops what cannot be written, and the exit code says all is well.
        (file or sys.stdout).write(message)

    def _all(self) -> list[argparse.ArgumentParser]:
        """This parser and those of its own commands."""
        found: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += action.choices.values()
        return found


def columns() -> int:
    """How wide the terminal is, as `shutil.get_terminal_size` says it."""
    try:
        found = max(int(os.environ["COLUMNS"]), 0)
    except (KeyError, ValueError):
        found = 0
    if found > 0 or sys.__stdout__ is None:
        return found or _COLUMNS
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _COLUMNS
    except (ValueError, OSError):
        return _COLUMNS
