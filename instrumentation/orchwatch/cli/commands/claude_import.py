"""`orchwatch claude import`: recorded sessions into the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.cli import importing, options, window

if TYPE_CHECKING:
    import argparse

    from orchwatch.agents.reader import RecordedSession

HELP = "add recorded sessions to the history; those added before are skipped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="session files or directories (default: Claude Code's own projects folder)",
    )
    parser.add_argument(
        "--since",
        default="all",
        metavar="WINDOW",
        help="only sessions active in the last 90s, 15m, 24h, 7d or all (default: %(default)s)",
    )
    parser.add_argument(
        "--project",
        metavar="NAME",
        help="only sessions of this project: its directory, or the end of that path",
    )
    options.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Imports, and prints what that added and where Grafana shows it.

    Raises:
        OrchwatchError: A path does not exist, or is a file of no session; or the home cannot be
            written.
    """
    from orchwatch.agents.claude_code.reader import ClaudeCode  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.agents.claude_code.sessions import session_files  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.agents.reader import session_files as files_in  # noqa: PLC0415 - as above
    from orchwatch.agents.registry import Found  # noqa: PLC0415 - as above

    since_ns = window.since_ns(arguments.since)
    paths = arguments.paths or [session_files.projects_directory()]
    reader = ClaudeCode()
    sessions, strange = reader.find(files_in(paths, reader.suffixes))
    found = [
        Found(reader, session)
        for session in sessions
        if _is_wanted(session, arguments.project, since_ns)
    ]
    importing.add(found, strange, arguments.format, arguments.paths)
    return 0


def _is_wanted(session: RecordedSession, project: str | None, since_ns: int | None) -> bool:
    from orchwatch.agents.claude_code.sessions import session_files  # noqa: PLC0415 - as above

    if project and not session_files.is_in_project(session, project):
        return False
    return since_ns is None or session_files.last_time_ns(session) >= since_ns
