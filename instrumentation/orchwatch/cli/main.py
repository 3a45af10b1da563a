"""The entry point: finds the command's module and turns errors into one line and an exit code.

Only what a command needs is imported, and here nothing that is not free: a status line or a
wrapped command pays for this module on every run.
"""

from __future__ import annotations

import errno
import os
import sys

from orchwatch.cli.output import Output, charset
from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording.safe_text import safe
from orchwatch.recording.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from orchwatch.cli.parser import Parser

COMMANDS = (
    "run",
    "demo",
    "current",
    "dashboard",
    "sessions",
    "agents",
    "traces",
    "trace",
    "critical-path",
    "flame",
    "phases",
    "hooks",
    "tokens",
    "state",
    "events",
    "status-line",
    "kpi",
    "forecast",
    "report",
    "sql",
    "export",
    "monitor",
    "generate",
    "doctor",
    "audit",
    "fleet",
    "bench",
    "baseline",
    "tune",
    "import",
    "claude",
    "completion",
)

# What a shell reports for a process that the signal ended.
_EXIT_INTERRUPTED = 128 + 2
_EXIT_BROKEN_PIPE = 128 + 13
# Of an error in writing; None when the file was opened for reading only.
_UNWRITABLE = (None, errno.EBADF, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.ENOSPC)

# A message holds a path or two, and a list of what is known.
_MAX_MESSAGE_COLUMNS = 2000

_NO_PAGER = "--no-pager"

_HELP = """\
usage: orchwatch COMMAND [ARGUMENTS]

Watches multi-agent orchestrations against a table of performance targets.

commands:
{commands}

options:
  -h, --help   show this and exit, as `orchwatch help` does; after a COMMAND, show its own
  --version    show the version and exit
  --no-pager   of commands that list: write all at once, as to a file. PAGER names
               another pager than less, `PAGER=cat` none
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        words: The command line after the program's name; by default this process's own.

    Returns:
        The exit code: 0 fine, 1 error, 2 usage, 3 a check failed; `orchwatch run` passes on its
        command's.
    """
    before = sys.stdout, sys.stderr
    _prepare_output()
    try:
        return _answered(list(sys.argv[1:] if words is None else words))
    finally:
        sys.stdout, sys.stderr = before


def _answered(words: list[str]) -> int:
    try:
        try:
            code = _dispatch(words)
        except SystemExit as ended:  # of `--help`, once it is written
            code = int(ended.code or 0)
        sys.stdout.flush()
    except OrchwatchError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return _EXIT_BROKEN_PIPE
    except (OSError, RuntimeError) as error:
        explained = _explained(error) or _bug(error)
        _complain(explained)
        return explained.exit_code
    except Exception as error:  # noqa: BLE001 - said in one line, as every other error is
        _complain(_bug(error))
        return OrchwatchError.exit_code
    return code


def command_module(name: str) -> ModuleType:
    """The module of a command.

    Raises:
        UsageError: There is no such command.
    """
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or f"known are {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {name!r}; {hint}")
    # `importlib.import_module` does the same, but has to be imported first.
    module: ModuleType = __import__(
        "orchwatch.cli.commands." + name.replace("-", "_"), fromlist=("HELP",)
    )
    return module


def _dispatch(words: list[str]) -> int:
    if words[:1] == [_NO_PAGER]:
        words = [*words[1:], _NO_PAGER]
    name, *rest = words or ["--help"]
    if name == "help" and rest:
        return _dispatch([*rest, "--help"])
    if name in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if name == "--version":
        sys.stdout.write(f"orchwatch {__version__}\n")
        return 0
    if name.startswith("-"):
        hint = did_you_mean(name, ("--help", "--version")) or "orchwatch --help lists them"
        raise UsageError(f"unknown option {name}; {hint}")
    module = command_module(name)
    if hasattr(module, "main"):
        return int(module.main(rest))
    return _run(name, module, rest)


def _run(name: str, module: ModuleType, words: list[str]) -> int:
    from orchwatch.cli import pager  # noqa: PLC0415 - what must start fast does without

    if name in pager.PAGED:
        with pager.around(name, words):
            words = [word for word in words if word != _NO_PAGER]
            return int(module.run(command_parser(name).parse_args(words)))
        return 0  # a person has left the pager
    return int(module.run(command_parser(name).parse_args(words)))


def command_parser(name: str) -> Parser:
    """The parser of a command that has one; the others have `main` and `USAGE`."""
    from orchwatch.cli.parser import Parser  # noqa: PLC0415 - what must start fast does without

    module = command_module(name)
    parser = Parser(prog=f"orchwatch {name}", description=module.HELP)
    module.add_arguments(parser)
    return parser


def _prepare_output() -> None:
    if sys.stdout is None:
        # Closed with >&-: for reading only, so that a write raises an OSError.
        sys.stdout = open(os.devnull)  # noqa: SIM115 - for as long as the process lives
    elif (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8"):
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    sys.stdout = Output(sys.stdout, charset=charset(sys.stdout))
    if sys.stderr is not None:
        sys.stderr = Output(sys.stderr, charset=charset(sys.stderr))


def _explained(error: OSError | RuntimeError) -> OrchwatchError | None:
    """The cause that a user can fix, of an error that no command expects; None: it is a bug."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
        _drop_output()
        return OrchwatchError(f"the output cannot be written: {error.strerror or error}")
    home = os.environ.get("ORCHWATCH_HOME", "")
    try:
        home.encode()
        os.getcwd()
        os.stat(home or ".")
    except UnicodeEncodeError:
        return OrchwatchError(f"ORCHWATCH_HOME={os.fsencode(home)!r}: must be UTF-8")
    except FileNotFoundError as missing:
        if missing.filename is None:
            where = f"ORCHWATCH_HOME={home}" if home else "ORCHWATCH_HOME"
            return OrchwatchError(f"{where}: the current directory is gone")
    except OSError as unusable:
        return OrchwatchError(f"ORCHWATCH_HOME={home}: {unusable.strerror}")
    if isinstance(error, OSError) and error.filename is not None:
        return OrchwatchError(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return None


def _bug(error: Exception) -> OrchwatchError:
    """An unexpected error, with the place in this package where it was raised."""
    place = ""
    step = error.__traceback__
    while step is not None:
        _, ours, file = step.tb_frame.f_code.co_filename.rpartition("/orchwatch/")
        if ours:
            place = f" at {file}:{step.tb_lineno}"
        step = step.tb_next
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return OrchwatchError(f"a bug in orchwatch{place}, please report it: {said}")


def _drop_output() -> None:
    # What is still buffered would fail once more when the interpreter flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help() -> str:
    width = max(map(len, COMMANDS))
    return _HELP.format(
        commands="\n".join(f"  {name:{width}}  {command_module(name).HELP}" for name in COMMANDS)
    )


def _complain(error: OrchwatchError) -> None:
    # Closed with 2>&-, there is no stderr to write to; the exit code remains.
    if sys.stderr is not None:
        sys.stderr.write(f"orchwatch: {safe(' '.join(str(error).split()), _MAX_MESSAGE_COLUMNS)}\n")
