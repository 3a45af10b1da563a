from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import kpi_export, status
from orchwatch.analysis.kpis import Kpis
from orchwatch.analysis.probes import Tree
from orchwatch.analysis.project import Figure
from orchwatch.analysis.status import Business, Gatherer, System
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.unit.conftest import Record

S = 10**9


def test_an_empty_home_measures_the_machine_and_nothing_else(home: Path, tmp_path: Path) -> None:
    with Store(home) as store:
        gatherer = Gatherer(home, store, tmp_path)
        system, business = gatherer.measure_system(), gatherer.measure_business()
        found = gatherer.take()
    assert (system.storage_bytes, business) == (None, Business())
    assert set(status.levels(System(), business)) == set()
    assert set(status.kpi_values(System(), business).values()) == {None}
    assert set(found.health.parts) <= {"cpu.utilization", "memory.utilization"}


def test_key_figures_stand_among_the_levels(home: Path, tmp_path: Path, record: Record) -> None:
    now_ns = time.time_ns()
    for start_s, failed in ((100, False), (60, False), (20, True)):
        record(
            "agent.task",
            duration_ns=20 * S,
            end_ns=now_ns - start_s * S + 20 * S - S,
            failed=failed,
            attributes={"gen_ai.agent.name": "a", "session.id": "s"},
        )
    (tmp_path / "coverage.json").write_text('{"totals": {"percent_covered": 83}}')
    with Store(home) as store:
        gatherer = Gatherer(home, store, tmp_path)
        gatherer.measure_business()
        found = gatherer.take()
    levels = {reading.id: reading.value for reading in found.snapshot.levels}
    samples = {reading.id: reading.sample for reading in found.snapshot.levels}
    assert samples["task.success"] == samples["task.errors"] == (3, "task")
    assert samples["agent.utilization"] == samples["parallel.execution"] == (1, "agent")
    assert samples["availability"] is samples["task.throughput"] is None
    assert levels["agent.utilization"] == pytest.approx(60 / 100)
    assert levels["parallel.execution"] is None
    assert levels["task.success"] == pytest.approx(2 / 3)
    assert levels["task.errors"] == pytest.approx(1 / 3)
    assert levels["task.throughput"] == 2
    assert levels["test.coverage"] == pytest.approx(0.83)
    assert levels["code.quality"] is None
    assert {"task.success", "task.errors"} <= {alert.id for alert in found.alerts}
    assert found.health.parts["task.success"] == 0.5


def test_without_tasks_nothing_is_said_about_their_success(
    home: Path, tmp_path: Path, record: Record
) -> None:
    record("state.query")
    record("state.query", failed=True)
    with Store(home) as store:
        gatherer = Gatherer(home, store, tmp_path)
        gatherer.measure_business()
        levels = {reading.id: reading.value for reading in gatherer.take().snapshot.levels}
    assert levels["availability"] == 0.5
    assert (levels["task.success"], levels["task.errors"]) == (None, None)
    assert levels["task.throughput"] is None


@pytest.mark.usefixtures("home")
def test_only_what_was_measured_is_exported(
    lines: Callable[[str], tuple[list[dict[str, Any]], int]],
) -> None:
    kpi_export.export(
        kpi_export.of_system(
            System(
                session_trees={"a": Tree(10, None, 1), "b": Tree(30, None, 1)},
                storage_bytes=7,
                storage_growth_bytes=5,
            )
        )
    )
    kpi_export.export(
        kpi_export.of_business(
            Business(
                kpis=Kpis(active_agents=0, parallel_ratio=0.25),
                project={"code.quality": Figure(value=8, at_ns=0, source="kpi set")},
            )
        )
    )
    kpi_export.export(kpi_export.of_business(Business()))
    written, unreadable = lines("metrics")
    found = {
        (metric["name"], metric["unit"]): next(
            value for key, value in metric["gauge"]["dataPoints"][0].items() if key.startswith("as")
        )
        for line in written
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
    }
    assert not unreadable
    assert {key: float(value) for key, value in found.items()} == {
        ("orchestration.session.memory", "By"): 30,
        ("orchestration.storage.size", "By"): 7,
        ("orchestration.storage.growth", "By"): 5,
        ("orchestration.agent.active", "{agent}"): 0,
        ("orchestration.parallel.ratio", "1"): 0.25,
        ("orchestration.code.quality", "{point}"): 8,
    }
