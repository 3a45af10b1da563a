"""What `import` and `claude import` have in common: into the history, and what that added."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.agents.registry import Found


def add(found: Sequence[Found], strange: Sequence[str], layout: str) -> None:
    """Imports these sessions, and prints what that added.

    Args:
        found: The sessions.
        strange: Files that are no session's.
        layout: `json` or `table`.

    Raises:
        OrchwatchError: The home cannot be written.
    """
    from orchwatch.agents import importer  # noqa: PLC0415 - slow, and so are the next ones
    from orchwatch.agents.reader import why_strange  # noqa: PLC0415
    from orchwatch.agents.sessions.import_record import ImportRecord  # noqa: PLC0415
    from orchwatch.agents.sessions.lines import size_bytes  # noqa: PLC0415
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
    render = import_summary.render_json if layout == "json" else import_summary.render
    render(summary, shown, sys.stdout)


def _say_waiting() -> None:
    sys.stderr.write("another import is running; waiting for it to end\n")
