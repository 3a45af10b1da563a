"""`orchwatch status-line`: one line about how things are, fast, whatever is stored."""

from __future__ import annotations

import os
import sys
import time

from orchwatch.analysis import snapshot_file
from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import UsageError
from orchwatch.recording.home import home
from orchwatch.recording.json_text import loads
from orchwatch.reporters import status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HELP = "print one line: health, the worst operation, agents, errors, machine, alert"

USAGE = """\
usage: orchwatch status-line [--format line|json] [--color auto|always|never]

Prints one line from the snapshot that `orchwatch monitor` keeps: health and its score, the
operation that is worst against its target, active agents, errors, CPU and memory, and the worst
alert. The line fits COLUMNS; the rest is left out. Where the monitor does not run, it says how old
the figures are. A status JSON on stdin, as Claude Code writes it, names the session whose memory is
shown too. NO_COLOR is respected.

options:
  --format line|json   json: health, performance, resources and business
  --color auto|always|never
                       auto: unless NO_COLOR is set, as its reader is no terminal
  -h, --help           show this and exit
"""

_VALUES = {"--format": ("line", "json"), "--color": ("auto", "always", "never")}
_COLUMNS = 80
# The line is never wider than this.
_COLUMN_DIGITS = 4
# Claude Code's status JSON is some 2 kB. A writer of more, or of nothing, is not waited for.
_MAX_BYTES = 1024 * 1024
_MAX_WAIT_S = 0.2
_CHUNK_BYTES = 64 * 1024

_BROKEN = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


def main(words: Sequence[str]) -> int:
    """Parses by hand, because loading `argparse` takes longer than all of the rest.

    Raises:
        UsageError: An option is unknown.
    """
    chosen = {"--format": "line", "--color": "auto"}
    rest = list(words)
    while rest:
        option, has_value, value = rest.pop(0).partition("=")
        if option in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return 0
        if option == "--no-color" and not has_value:
            chosen["--color"] = "never"  # as it was spelt before
        elif option in chosen and (has_value or rest):
            chosen[option] = value if has_value else rest.pop(0)
        else:
            hint = did_you_mean(option, chosen) or "see its --help"
            raise UsageError(f"status-line: unknown option {option}; {hint}")
    for option, values in _VALUES.items():
        if chosen[option] not in values:
            raise UsageError(
                f"status-line: {option} must be one of {', '.join(values)}, not {chosen[option]!r}"
            )
    output_format, color = chosen["--format"], chosen["--color"]
    colour = color == "always" or (color == "auto" and not os.environ.get("NO_COLOR"))
    session_id = _session_id()
    snapshot = snapshot_file.read(home())
    if output_format == "json":
        text = _json(snapshot)
    else:
        text = _line(snapshot, colour=colour, session_id=session_id)
    if sys.stdout is not None and sys.stdout.writable():
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            # The indicator must come out under LANG=C too.
            reconfigure(encoding="utf-8", errors="replace")
        sys.stdout.write(f"{text}\n")
    return 0


def _line(snapshot: dict[str, Any] | None, *, colour: bool, session_id: str | None) -> str:
    columns = _columns()
    if snapshot is None:
        return status_line.without_figures(status_line.NO_DATA, columns)
    try:
        age = status_line.age(snapshot, time.time_ns(), running=_runs(snapshot))
        return status_line.line(
            snapshot, columns=columns, colour=colour, age=age, session_id=session_id
        )
    except _BROKEN:
        return status_line.without_figures(status_line.NO_DATA, columns)


def _json(snapshot: dict[str, Any] | None) -> str:
    from orchwatch.reporters import json_document  # noqa: PLC0415 - a line does without

    figures = status_line.empty_structure(status_line.NO_DATA)
    if snapshot is not None:
        try:
            age_s = max(0.0, (time.time_ns() - snapshot["written_at_ns"]) / 1e9)
            figures = status_line.structure(snapshot, age_s)
        except _BROKEN:
            pass  # what lies there is no snapshot
    return json_document.dumps(json_document.versioned("status-line", figures))


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and int(columns[:_COLUMN_DIGITS]) > 0:
        return int(columns[:_COLUMN_DIGITS])
    try:
        return os.get_terminal_size(2).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def _runs(snapshot: dict[str, Any]) -> bool:
    if snapshot["pid_namespace"] != snapshot_file.pid_namespace():
        return True  # in a container: only its age shows that
    try:
        os.kill(snapshot["pid"], 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _session_id() -> str | None:
    try:
        status = loads(_stdin().decode())
    except (ValueError, RecursionError):
        return None
    found = status.get("session_id") if isinstance(status, dict) else None
    return found if isinstance(found, str) else None


def _stdin() -> bytes:
    """What stands on stdin, as far as it is there in time."""
    try:
        if os.isatty(0):
            return b""
        import select  # noqa: PLC0415 - a terminal does without

        text = b""
        deadline = time.monotonic() + _MAX_WAIT_S
        while (wait_s := deadline - time.monotonic()) > 0:
            if not select.select([0], [], [], wait_s)[0]:
                break
            chunk = os.read(0, _CHUNK_BYTES)
            if not chunk:
                break
            if len(text) < _MAX_BYTES:
                text += chunk
    except (OSError, ValueError):  # closed, or a directory
        return b""
    return text
