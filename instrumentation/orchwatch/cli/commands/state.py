"""`orchwatch state`: what a session's state holds, as one question."""

from __future__ import annotations

import os
import sys

from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording.home import home
from orchwatch.runtime import session_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = "answer a JSONPath query on the state of a session"

USAGE = """\
usage: orchwatch state SESSION [PATH] [--root DIR] [--format text|json]

Answers a JSONPath query (RFC 9535) on the state of a session of the runtime: a line of JSON for
each value that it selects, none where it selects none. `orchwatch state SESSION '$..status'`

arguments:
  SESSION              the session's id, or `latest`: the one that was written to last
  PATH                 the query (default: $, the whole state)

options:
  --root DIR           the workspace, whose .claude/state has the session (default: the current
                       directory, and then the sessions of `orchwatch demo`)
  --format text|json   json: the values with the session and the version of its state
  -h, --help           show this and exit
"""

LATEST = "latest"
_FORMATS = ("text", "json")
_SHOWN_SESSIONS = 5


def main(words: Sequence[str]) -> int:
    """Parses by hand, because loading `argparse` takes longer than the answer.

    Raises:
        UsageError: An option is unknown, or PATH is not JSONPath.
        OrchwatchError: There is no such session, or it cannot be read.
    """
    chosen = {"--format": "text", "--root": ""}
    given: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return 0
        option, has_value, value = word.partition("=")
        if not word:
            raise UsageError("state: SESSION and PATH must not be empty")
        if not word.startswith("-"):
            given.append(word)
        elif option in chosen and (has_value or rest):
            chosen[option] = value if has_value else rest.pop(0)
            if not chosen[option]:
                raise UsageError(f"state: {option} must not be empty")
        elif option in chosen:
            raise UsageError(f"state: {option} needs a value; see orchwatch state --help")
        else:
            hint = did_you_mean(option, chosen) or "see orchwatch state --help"
            raise UsageError(f"state: unknown option {option}; {hint}")
    if chosen["--format"] not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UsageError(f"state: --format must be one of {known}, not {chosen['--format']!r}")
    if not 1 <= len(given) <= 2:  # noqa: PLR2004 - a session, and perhaps a path
        raise UsageError("state: takes SESSION and perhaps PATH; see orchwatch state --help")
    _answer(given[0], "".join(given[1:]) or "$", chosen)
    return 0


def _answer(session: str, path: str, chosen: dict[str, str]) -> None:
    from orchwatch.reporters import json_document  # noqa: PLC0415 - a usage error needs none
    from orchwatch.runtime import single_query  # noqa: PLC0415

    try:
        single_query.parse(path)
    except OrchwatchError as error:
        raise UsageError(f"state: {error}") from error
    found, file = _found(session, chosen["--root"])
    version, values = single_query.answer(file, path)
    if chosen["--format"] == "json":
        document = {"session": found, "path": path, "version": version, "values": values}
        json_document.answer("state", document, sys.stdout)
    else:
        for value in values:
            json_document.render(value, sys.stdout, indent=None)


def _found(session: str, root: str) -> tuple[str, str]:
    """The id of a session, and its database.

    Raises:
        OrchwatchError: There is none.
    """
    roots = [root] if root else [".", os.path.join(home(), "sessions")]
    directories = [os.path.join(each, session_paths.STATE_DIRECTORY) for each in roots]
    if session != LATEST:
        name = session_paths.database_name(session)
        for directory in directories:
            file = os.path.join(directory, name)
            if os.sep not in session and (os.path.exists(file) or _unpacked(file)):
                return session, file
    known = sorted(_sessions(directories), reverse=True)
    if session == LATEST and known:
        return known[0][1:]
    where = " and ".join(directories)
    if not known:
        raise OrchwatchError(f"state: there is no session in {where}")
    names = ", ".join(name for _, name, _ in known[:_SHOWN_SESSIONS])
    raise OrchwatchError(f"state: no session {session!r} in {where}; written to last were {names}")


def _unpacked(file: str) -> bool:
    """Whether the session was put away, and is there again."""
    from pathlib import Path  # noqa: PLC0415 - slow, as the next

    path = Path(file)
    if not session_paths.archived(path).exists():
        return False
    from orchwatch.runtime import session_archive, session_files  # noqa: PLC0415

    in_use = session_files.use(path)
    try:
        session_archive.unpack(path)
    finally:
        os.close(in_use)
    return path.exists()


def _sessions(directories: list[str]) -> list[tuple[int, str, str]]:
    """When each session was written to, its id and its database."""
    found = []
    for directory in directories:
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        for entry in entries:
            name = entry.name.removeprefix(session_paths.PREFIX)
            session = name.removesuffix(session_paths.DATABASE)
            if len(name) < len(entry.name) and len(session) < len(name):
                found.append((_written_ns(entry.path), session, entry.path))
    return found


def _written_ns(file: str) -> int:
    latest = 0
    for name in (file, f"{file}-wal"):
        try:
            latest = max(latest, os.stat(name).st_mtime_ns)
        except OSError:
            continue  # gone, or there is no log
    return latest
