from __future__ import annotations

from orchwatch.diagnosis.spool_backlog import Backlog
from orchwatch.monitor import exposition
from orchwatch.recording import losses

FULL = Backlog(family="operations", size_bytes=300, unread_bytes=200, age_s=1.5)
UNSEEN = Backlog(family="metrics", size_bytes=10)


def _series(*backlogs: Backlog, lost: dict[str, int] | None = None) -> dict[str, float]:
    text = exposition.text(backlogs, 1000, lost or {}).decode()
    assert text.endswith("\n")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def test_sizes_and_ages_stand_in_bytes_and_seconds_by_family() -> None:
    found = _series(FULL, UNSEEN)
    family = 'orchestration_spool_family="operations"'
    assert found[f"orchestration_spool_size_bytes{{{family}}}"] == 300
    assert found[f"orchestration_spool_unread_bytes{{{family}}}"] == 200
    assert found[f"orchestration_spool_unread_age_seconds{{{family}}}"] == 1.5
    assert found["orchestration_spool_limit_bytes"] == 1000


def test_what_is_unknown_has_no_sample() -> None:
    found = _series(UNSEEN)
    family = 'orchestration_spool_family="metrics"'
    assert f"orchestration_spool_size_bytes{{{family}}}" in found
    assert not [series for series in found if "unread" in series]


def test_a_reason_that_never_occurred_is_zero() -> None:
    found = _series(lost={"disk_full": 3})
    lost = {series: value for series, value in found.items() if "_lost_total" in series}
    assert lost['orchestration_telemetry_lost_total{orchestration_loss_reason="disk_full"}'] == 3
    assert len(lost) == len(losses.REASONS) + 1
    assert sum(lost.values()) == 3


def test_unknown_reasons_are_added_up_as_other() -> None:
    found = _series(lost={"from_the_future": 2, 'a"b': 1})
    assert found['orchestration_telemetry_lost_total{orchestration_loss_reason="other"}'] == 3
