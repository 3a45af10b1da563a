"""`orchwatch run`: any command as one operation."""

from __future__ import annotations

import sys

from orchwatch import semconv
from orchwatch.errors import UsageError
from orchwatch.integrations import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = "run a command as one operation, passing on its exit code, signals and streams"

USAGE = """\
usage: orchwatch run [--operation NAME] [--attribute KEY=VALUE ...] -- COMMAND [ARGUMENT ...]

Runs COMMAND as one operation. It keeps its stdin, stdout, stderr, terminal and signals, and finds
the operation in TRACEPARENT and BAGGAGE. The exit code is COMMAND's own; 127 when it is not found,
126 when it is not executable. Its arguments are not recorded. Where orchwatch.toml has an
[instrument] table (or ORCHWATCH_INSTRUMENT is set), Python programs below it are watched too.

options:
  --operation NAME        the operation's name (default: command.run)
  --attribute KEY=VALUE   an attribute of its span; may be given several times
  -h, --help              show this and exit
"""


def main(words: Sequence[str]) -> int:
    """Parses by hand, because loading `argparse` takes as long as all of the rest.

    Raises:
        UsageError: An option is unknown or lacks its value, or there is no command.
        CommandNotStartedError: The command does not exist or is not executable.
    """
    operation_name = semconv.COMMAND_RUN
    attributes: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, has_value, value = rest.pop(0).partition("=")
        if option == "--":
            break
        if option in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return 0
        if option not in ("--operation", "--attribute"):
            raise UsageError(f"run: unknown option {option}; see orchwatch run --help")
        if not has_value:
            if not rest:
                raise UsageError(f"run: {option} needs a value")
            value = rest.pop(0)
        if option == "--operation":
            operation_name = _checked_name(value)
        else:
            attributes.update([_checked_attribute(value)])
    if not rest:
        raise UsageError("run: there is no command; usage: orchwatch run -- COMMAND [ARGUMENT ...]")
    outcome = command.run(rest, operation_name=operation_name, attributes=attributes)
    return command.end_like(outcome)


def _checked_name(value: str) -> str:
    if not value:
        raise UsageError("run: --operation needs a name that is not empty")
    return value


def _checked_attribute(value: str) -> tuple[str, str]:
    key, separator, text = value.partition("=")
    if not (separator and key):
        raise UsageError(f"run: --attribute must be spelt KEY=VALUE, not {value!r}")
    return key, text
