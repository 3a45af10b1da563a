"""What Prometheus knows of the spool while the Collector is away, and of what was lost."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import TABLE, eventually, run, samples, value

from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.alerts.pipeline_spool import AGE, FAMILY, LOST, REASON, SIZE, UNREAD
from orchwatch.mixin.lib import alerting
from orchwatch.recording import losses, spool
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from native import Stack

# Two looks at the spool and two of Prometheus at the monitor.
KNOWN_WITHIN_S = 150.0
SEGMENT_BYTES, BUDGET_BYTES = 5_000, 20_000
ALERTS = {one.name: one for one in catalog.every(TABLE, alerting.load(Config()))}
OPERATIONS = """
    import sys
    from orchwatch import operation
    for _ in range(int(sys.argv[1])):
        with operation("pipeline.probe"):
            pass
"""

# A file that may not grow is a full disk.
ON_A_FULL_DISK = (
    """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
"""
    + OPERATIONS
)


@pytest.fixture
def monitored(own_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack with a monitor process, which follows nobody's sessions, over a small spool."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", str(BUDGET_BYTES))
    own_stack.start_component("monitor")
    return own_stack


def _of_operations(stack: Stack, series: str) -> float | None:
    return value(stack, f'{series}{{{FAMILY}="{spool.OPERATIONS}"}}')


def _size_bytes(stack: Stack) -> int:
    return sum(segment.stat().st_size for segment in stack.spool.glob("operations-*.jsonl"))


def _record_one_that_ended_long_ago(stack: Stack) -> None:
    *_, segment = sorted(stack.spool.glob("operations-*.jsonl"))
    line = segment.read_bytes().splitlines(keepends=True)[-1]
    ended_ns = time.time_ns() - 600 * 10**9
    old = re.sub(rb'(TimeUnixNano":")\d+', rb"\g<1>%d" % ended_ns, line)
    with segment.open("ab") as file:
        file.write(old)


def _burns(stack: Stack, alert: str) -> bool:
    return bool(samples(stack, ALERTS[alert].expr))


@pytest.mark.timeout(900)
def test_what_the_collector_has_not_read_is_seen_until_it_has(monitored: Stack) -> None:
    run(monitored, "pipeline", OPERATIONS, "3")
    read_bytes = _size_bytes(monitored)
    eventually(lambda: _of_operations(monitored, SIZE) == read_bytes, KNOWN_WITHIN_S)
    assert _of_operations(monitored, SIZE) == read_bytes
    assert eventually(lambda: _of_operations(monitored, UNREAD) == 0, KNOWN_WITHIN_S)
    assert _of_operations(monitored, AGE) == 0

    monitored.stop_component("collector")
    _record_one_that_ended_long_ago(monitored)
    run(monitored, "pipeline", OPERATIONS, "20")
    unread_bytes = _size_bytes(monitored) - read_bytes
    eventually(lambda: _of_operations(monitored, UNREAD) == unread_bytes, KNOWN_WITHIN_S)
    assert _of_operations(monitored, UNREAD) == unread_bytes
    assert eventually(lambda: (_of_operations(monitored, AGE) or 0) >= 600)
    assert eventually(lambda: _burns(monitored, "SpoolBacklog"))

    monitored.start_component("collector")
    assert eventually(lambda: _of_operations(monitored, UNREAD) == 0, KNOWN_WITHIN_S)
    assert not _burns(monitored, "SpoolBacklog")


@pytest.mark.timeout(900)
def test_what_the_spool_drops_unread_is_counted_as_the_ledger_counts_it(
    monitored: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_HOME", str(monitored.home))
    dropped = f'{LOST}{{{REASON}="budget_dropped"}}'
    run(monitored, "pipeline", OPERATIONS, "1")
    assert eventually(lambda: value(monitored, dropped) == 0, KNOWN_WITHIN_S)
    monitored.stop_component("collector")

    small = {
        "ORCHWATCH_SPOOL_SEGMENT_BYTES": str(SEGMENT_BYTES),
        "ORCHWATCH_SPOOL_BUDGET_BYTES": str(BUDGET_BYTES),
    }
    run(monitored, "pipeline", OPERATIONS, "200", environment=small)
    lost = losses.read()["budget_dropped"]
    assert lost > 100
    eventually(lambda: value(monitored, dropped) == lost, KNOWN_WITHIN_S)
    assert value(monitored, dropped) == lost
    assert eventually(lambda: _burns(monitored, "SpoolNearBudget"), KNOWN_WITHIN_S)
    assert eventually(lambda: _burns(monitored, "OperationsLost"), KNOWN_WITHIN_S)

    # The ledger outlives the process that tells of it: no loss is told twice.
    monitored.stop_component("monitor")
    restarted_s = time.time()
    monitored.start_component("monitor")
    told = f"timestamp({dropped}) > {restarted_s}"
    assert eventually(lambda: value(monitored, told), KNOWN_WITHIN_S)
    assert value(monitored, dropped) == lost
    assert samples(monitored, f"resets({LOST}[5m]) > 0") == []


@pytest.mark.timeout(600)
def test_what_does_not_fit_on_the_disk_is_counted_and_reported(monitored: Stack) -> None:
    full = f'{LOST}{{{REASON}="disk_full"}}'
    run(monitored, "pipeline", OPERATIONS, "10")
    assert eventually(lambda: value(monitored, full) == 0, KNOWN_WITHIN_S)
    run(monitored, "pipeline", ON_A_FULL_DISK, "7")
    eventually(lambda: value(monitored, full) == 7, KNOWN_WITHIN_S)
    assert value(monitored, full) == 7
    told = eventually(lambda: samples(monitored, ALERTS["OperationsLost"].expr))
    assert [labels for labels, _ in told] == [{REASON: "disk_full"}]


@pytest.mark.timeout(600)
def test_without_a_monitor_process_nothing_is_known_and_one_alert_says_so(
    own_stack: Stack,
) -> None:
    assert eventually(lambda: value(own_stack, 'up{job="monitor"}') == 0, KNOWN_WITHIN_S)
    assert _burns(own_stack, "MonitorDown")
    assert samples(own_stack, UNREAD) == []
    assert samples(own_stack, LOST) == []
    for alert in ("SpoolBacklog", "SpoolNearBudget", "OperationsLost"):
        assert not _burns(own_stack, alert)
