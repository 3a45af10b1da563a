"""A snapshot as JSON, the format that other programs build on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch.reporters import json_document, phase_list

if TYPE_CHECKING:
    from orchwatch.analysis.snapshot import Snapshot


_NS = 1_000_000_000


def render(snapshot: Snapshot, file: TextIO) -> None:
    """Writes one JSON object; null where nothing was measured."""
    phases = None if snapshot.phases is None else phase_list.figures(snapshot.phases)
    json_document.answer("current", {**as_dict(snapshot), "phases": phases}, file)


def as_dict(snapshot: Snapshot) -> dict[str, Any]:
    """`operations` and `levels` by id; `as_of` and `since` in ISO 8601, `since` null for all."""
    return {
        "operations": {
            reading.id: {
                "count": reading.count,
                "errors": reading.errors,
                "p50_s": reading.p50_s,
                "p95_s": reading.p95_s,
                "p99_s": reading.p99_s,
                "under_target": reading.under_target,
                "target_s": reading.target_s,
                "status": reading.status,
            }
            for reading in snapshot.operations
        },
        "levels": {
            reading.id: {
                "value": reading.value,
                "target": reading.target,
                "unit": reading.unit,
                "status": reading.status,
            }
            for reading in snapshot.levels
        },
        "as_of": _iso(snapshot.as_of),
        "since": None if snapshot.since is None else _iso(snapshot.since),
        "earlier": snapshot.earlier,
        "later": snapshot.later,
        "metrics": {
            metric.name: {
                "kind": metric.kind,
                "unit": metric.unit,
                "lowest": min(metric.values),
                "highest": max(metric.values),
                "at": _iso(datetime.fromtimestamp(metric.at_ns / _NS, UTC)),
            }
            for metric in snapshot.metrics
        },
        "elsewhere": [
            {
                "service": one["service"],
                "endpoint": one["endpoint"],
                "running": one["running"],
                "seen": _iso(datetime.fromtimestamp(one["seen_ns"] / _NS, UTC)),
            }
            for one in snapshot.elsewhere
        ],
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
