"""From operations that miss their targets to the event stream, through the real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import (
    EVALUATED_WITHIN_S,
    TABLE,
    eventually,
    opened,
    running,
    write_operations,
)

from orchwatch.analysis import alert_events
from orchwatch.mixin.rules.samples import next_edge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from native import Stack
    from orchwatch.analysis.alert_events import AlertEvent

# Alertmanager waits 10 s for what explains an alert, and a minute at most with an end.
_TOLD_WITHIN_S = EVALUATED_WITHIN_S + 60.0


class Watched:
    """A stack, and the monitor process that its alerts are told to.

    That process has a home of its own: what it measures of this machine, and finds out itself, is
    not what is told here.
    """

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self._home = home

    @contextmanager
    def monitor(self) -> Iterator[None]:
        """Runs the process."""
        environment = {
            **os.environ,
            "ORCHWATCH_HOME": str(self._home),
            "ORCHWATCH_MONITOR_PORT": str(self.stack.ports.monitor),
            "CLAUDE_CONFIG_DIR": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
        }
        words = [sys.executable, "-m", "orchwatch.cli", "monitor"]
        with subprocess.Popen(words, env=environment) as process:
            try:
                yield
            finally:
                process.terminate()

    def told(self) -> list[AlertEvent]:
        """The alerts about operations in the event stream, oldest first."""
        return [
            event
            for event in alert_events.latest(self._home / "spool", 1000)
            if event.evaluator == alert_events.ALERTMANAGER and event.kind != "pipeline"
        ]

    def failed_deliveries(self) -> float:
        """How often Alertmanager did not reach the process."""
        with opened(f"{self.stack.alertmanager_url}/metrics") as answer:
            metrics = answer.read().decode()
        found = re.findall(
            r'^alertmanager_notification_requests_failed_total{integration="webhook".*} (\S+)$',
            metrics,
            re.MULTILINE,
        )
        return sum(map(float, found))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    home = tmp_path / "monitor"
    (home / "alertmanager").mkdir(mode=0o700, parents=True)
    stack_home = tmp_path / "stack"
    stack_home.mkdir()
    (stack_home / "alertmanager").symlink_to(home / "alertmanager")
    with running(stack_home) as stack:
        yield Watched(stack, home)


@pytest.mark.timeout(600)
def test_each_target_that_breaks_is_reported_once_and_so_is_its_end(watched: Watched) -> None:
    stack = watched.stack
    query, start, process = (
        TABLE.operations[name] for name in ("state.query", "session.init", "event.process")
    )

    # While no monitor process runs, so that its alert has to wait.
    slow = {query.id: next_edge(TABLE, query.target_s)}
    write_operations(stack, "1", slow, 10)
    assert eventually(watched.failed_deliveries, _TOLD_WITHIN_S)
    with watched.monitor():
        # It still burns when it is sent again, which takes up to a minute.
        write_operations(stack, "1-again", slow, 10)
        expect(watched, f"firing LatencyBudgetBurn {query.id}")

        write_operations(stack, "2", {query.id: query.target_s / 2}, 490)
        write_operations(stack, "3", {start.id: next_edge(TABLE, start.target_s)}, 10)
        expect(watched, f"firing LatencyBudgetBurn {start.id}")

        write_operations(stack, "4", {start.id: start.target_s / 2}, 490)
        write_operations(stack, "5", {process.id: process.target_s / 2}, 4, error="LookupError")
        expect(watched, f"firing ErrorBudgetBurn {process.id}")

        write_operations(stack, "6", {process.id: process.target_s / 2}, 6000)
        for ended in (
            f"resolved LatencyBudgetBurn {query.id}",
            f"resolved LatencyBudgetBurn {start.id}",
            f"resolved ErrorBudgetBurn {process.id}",
        ):
            expect(watched, ended)

    events = watched.told()
    assert sorted(map(_words, events)) == sorted(
        f"{state} {alert}"
        for state in ("firing", "resolved")
        for alert in (
            f"LatencyBudgetBurn {query.id}",
            f"LatencyBudgetBurn {start.id}",
            f"ErrorBudgetBurn {process.id}",
        )
    )
    assert all(event.summary and event.runbook and event.dashboard for event in events)
    ends = {event.fingerprint: event.end_ns for event in events if event.state == "resolved"}
    assert all(event.start_ns < (ends[event.fingerprint] or 0) for event in events)


def expect(watched: Watched, what: str) -> None:
    """Waits until the event stream says so."""
    eventually(lambda: what in map(_words, watched.told()), _TOLD_WITHIN_S)
    assert what in map(_words, watched.told())


def _words(event: AlertEvent) -> str:
    return f"{event.state} {event.name} {event.operation}"
