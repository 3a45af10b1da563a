from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchwatch.analysis import levels
from orchwatch.store.spans import Summary


def summary(count: int, errors: int, operation: str = "state.query") -> Summary:
    return Summary(
        operation=operation,
        count=count,
        errors=errors,
        p50_s=1,
        p95_s=1,
        p99_s=1,
        under_target=None,
    )


def test_shares_are_counted_over_the_operations_that_have_targets() -> None:
    summaries = [summary(90, 0), summary(10, 5, "agent.spawn"), summary(7, 7, "command.run")]
    assert levels.of_operations(summaries, {"state.query", "agent.spawn"}) == {
        "availability": 0.95,
        "error.rate": 0.05,
    }


def test_without_operations_no_share_is_made_up() -> None:
    assert levels.of_operations([], {"state.query"}) == {}
    assert levels.of_operations([summary(7, 7)], {"agent.spawn"}) == {}


def test_memory_utilization_is_a_share() -> None:
    assert 0 < levels.Machine.memory_utilization() < 1


def test_cpu_utilization_is_unknown_before_time_has_passed_and_a_share_afterwards() -> None:
    # On a busy machine time may pass between the two readings.
    assert any(levels.Machine().cpu_utilization() is None for _ in range(100))
    machine = levels.Machine()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    share = machine.cpu_utilization()
    assert share is not None
    assert 0 <= share <= 1


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads /proc")
def test_what_is_read_from_proc_is_what_psutil_reads() -> None:
    for _ in range(20):
        before, found, after = levels._cpu(), levels._proc_cpu(), levels._cpu()
        assert found is not None
        for low, value, high in zip(before, found, after, strict=True):
            assert low <= value <= high
    available, total = levels._proc_memory() or (0, 0)
    expected = levels._memory()
    assert total * 1024 == expected[1]
    assert abs(available * 1024 - expected[0]) < expected[1] / 4
