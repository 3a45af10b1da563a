"""What `import` and `claude import` have in common: into the history, and what that added."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.agents.registry import Found


def add(
    found: Sequence[Found], strange: Sequence[str], layout: str, paths: Sequence[str] = ()
) -> None:
    """Imports these sessions, and prints what that added.

    Args:
        found: The sessions.
        strange: Files that are no session's.
        layout: `json` or `table`.
        paths: Files and folders that were named.

    Raises:
        OrchwatchError: The home cannot be written, or a file that was named is no session's; what
            else was named is imported.
    """
    from orchwatch.agents import importer  # noqa: PLC0415 - slow, and so are the next ones
    from orchwatch.agents.reader import why_strange  # noqa: PLC0415
    from orchwatch.agents.sessions.import_record import ImportRecord  # noqa: PLC0415
    from orchwatch.agents.sessions.lines import size_bytes  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.mixin import dashboards  # noqa: PLC0415
    from orchwatch.mixin.lib import alerting  # noqa: PLC0415
    from orchwatch.reporters import import_summary  # noqa: PLC0415
    from orchwatch.reporters.progress import ProgressBar  # noqa: PLC0415

    grafana = alerting.load().grafana
    total_bytes = sum(size_bytes(file.path) for one in found for file in one.session.files)
    with ProgressBar(sys.stderr, total_bytes) as bar, ImportRecord(_say_waiting) as record:
        summary = importer.import_sessions(found, record, bar.advance)
    for line, number in summary.left_out.items():
        sys.stderr.write(f"orchwatch: {counted(number, 'session')} left out: {line}\n")
        summary.skipped["session that its reader failed on"] += number
    summary.skipped.update(map(why_strange, strange))
    shown = None
    if summary.start_ns is not None:
        times = summary.start_ns, summary.end_ns
        shown = dashboards.session_address(grafana, summary.session_ids, *times)
    named = _named(found, strange, paths)
    if layout == "json":
        import_summary.render_json(summary, shown, sys.stdout)
    elif found or not named:
        import_summary.render(summary, shown, sys.stdout, columns())
    if named:
        others = f", and {counted(len(named) - 1, 'other file')}" if len(named) > 1 else ""
        raise OrchwatchError(f"{named[0]}: {why_strange(named[0])}{others}")


def _named(found: Sequence[Found], strange: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The files among these paths of which nothing was read."""
    read = {file.path for one in found for file in one.session.files}
    files = {path for path in paths if not os.path.isdir(path)} - read
    return [path for path in strange if path in files]


def _say_waiting() -> None:
    sys.stderr.write("another import is running; waiting for it to end\n")
