"""Baselines: which there are, and what one holds."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.baselines import Baseline

_ONE = ("operation", "n", "failed", "median")
_LIST = ("baseline", "operations", "kind", "saved")


def render(baselines: Sequence[Baseline], file: TextIO) -> None:
    """Writes one line for each."""
    if not baselines:
        file.write(
            "No baseline yet: orchwatch baseline save NAME keeps the newest benchmark run.\n"
        )
        return
    rows = [
        ((safe(one.name), str(len(one.side.measurements)), safe(one.kind), safe(one.saved)), "")
        for one in baselines
    ]
    columns.table(_LIST, rows, file, colour=False)


def render_one(baseline: Baseline, file: TextIO) -> None:
    """Writes one line for each operation, and what they are."""
    rows = [
        (
            (
                safe(one.operation),
                str(one.count + one.failures),
                str(one.failures),
                units.duration(statistics.median(one.samples_s) if one.samples_s else None),
            ),
            "",
        )
        for one in baseline.side.measurements
    ]
    columns.table(_ONE, rows, file, colour=False)
    said = f"{safe(baseline.side.words)}; kept {safe(baseline.saved)}."
    file.write("\n")
    columns.sentences([said[0].upper() + said[1:]], file)


def list_as_json(baselines: Sequence[Baseline]) -> dict[str, Any]:
    """All of them."""
    return {"baselines": [_head(one) for one in baselines]}


def as_json(baseline: Baseline) -> dict[str, Any]:
    """One, with what it holds."""
    return {
        **_head(baseline),
        "machine": dict(baseline.side.machine),
        "operations": [
            {
                "operation": one.operation,
                "component": one.component or None,
                "count": one.count,
                "failures": one.failures,
                "median_s": statistics.median(one.samples_s) if one.samples_s else None,
            }
            for one in baseline.side.measurements
        ],
    }


def _head(baseline: Baseline) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "kind": baseline.kind,
        "saved": baseline.saved,
        "of": baseline.side.words,
    }
