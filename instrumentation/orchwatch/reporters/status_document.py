"""What the monitor process leaves for short commands, as `analysis.snapshot_file` keeps it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchwatch.analysis import at_work, snapshot_file, status
from orchwatch.reporters import document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.at_work import Working
    from orchwatch.analysis.status import Status


def as_dict(found: Status, *, interval_s: float, agents: Iterable[Working] = ()) -> dict[str, Any]:
    """One JSON object; null where nothing was measured.

    Args:
        found: What there is to say.
        interval_s: After how long the next one replaces it.
        agents: Who is at work.
    """
    figures = document.as_dict(found.snapshot)
    return {
        "written_at_ns": found.at_ns,
        "window_s": found.window_s,
        "pid": os.getpid(),
        "pid_namespace": snapshot_file.pid_namespace(),
        "interval_s": interval_s,
        "operations": figures["operations"],
        "levels": figures["levels"],
        "kpis": status.kpi_values(found.system, found.business),
        "alerts": [asdict(alert) for alert in found.alerts],
        "health": {"score": found.health.score, "status": found.health.status},
        "sessions": {
            session_id: {"memory_bytes": memory_bytes}
            for session_id, memory_bytes in found.system.session_memory_bytes.items()
        },
        "notes": list(found.business.notes),
        "at_work": at_work.as_rows(agents),
    }
