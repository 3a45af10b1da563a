"""`orchwatch claude import`: recorded sessions into the history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import options, window

if TYPE_CHECKING:
    import argparse

    from orchwatch.agents.claude_code.sessions.session_files import RecordedSession

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
        OrchwatchError: A path does not exist, or the home cannot be written.
    """
    from orchwatch.agents.claude_code.sessions import importer, session_files  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.agents.claude_code.sessions.import_record import ImportRecord  # noqa: PLC0415
    from orchwatch.agents.claude_code.sessions.lines import size_bytes  # noqa: PLC0415
    from orchwatch.mixin import dashboards  # noqa: PLC0415 - as above
    from orchwatch.mixin.lib import alerting  # noqa: PLC0415 - as above
    from orchwatch.reporters import import_summary  # noqa: PLC0415
    from orchwatch.reporters.progress import ProgressBar  # noqa: PLC0415

    grafana = alerting.load().grafana
    since_ns = window.since_ns(arguments.since)
    paths = arguments.paths or [session_files.projects_directory()]
    sessions, strange = session_files.find(paths)
    wanted = [session for session in sessions if _is_wanted(session, arguments.project, since_ns)]
    total_bytes = sum(size_bytes(file.path) for found in wanted for file in found.files)
    with ProgressBar(sys.stderr, total_bytes) as bar, ImportRecord(_say_waiting) as record:
        summary = importer.import_sessions(wanted, record, bar.advance)
    if strange:
        summary.skipped["file of no session"] += len(strange)
    shown = None
    if summary.start_ns is not None:
        times = summary.start_ns, summary.end_ns
        shown = dashboards.session_address(grafana, summary.session_ids, *times)
    render = import_summary.render_json if arguments.format == "json" else import_summary.render
    render(summary, shown, sys.stdout)
    return 0


def _is_wanted(session: RecordedSession, project: str | None, since_ns: int | None) -> bool:
    from orchwatch.agents.claude_code.sessions import session_files  # noqa: PLC0415 - as above

    if project and not session_files.is_in_project(session, project):
        return False
    return since_ns is None or session_files.last_time_ns(session) >= since_ns


def _say_waiting() -> None:
    sys.stderr.write("another import is running; waiting for it to end\n")
