"""Which alerts are told and which held back, on the real Alertmanager."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import ENDED_WITHIN_S, TABLE, eventually

import build
from native import HOST, Ports
from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.lib import alerting
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.mixin.lib.rule import AlertRule


# One worker, one Alertmanager.
pytestmark = pytest.mark.xdist_group("alertmanager")

REPO = Path(__file__).resolve().parents[2]
CONFIG = REPO / "alertmanager" / "alertmanager.yml"
UNTOLD = {"Watchdog", "MonitorDown"}
EVERY = catalog.every(TABLE, alerting.load(Config()))


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Alertmanager with the committed configuration; its address."""
    address = f"{HOST}:{Ports.free().alertmanager}"
    with subprocess.Popen(
        [
            build.binaries()["alertmanager"],
            f"--config.file={CONFIG}",
            f"--storage.path={tmp_path_factory.mktemp('alertmanager')}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
        env={**os.environ, "GOMAXPROCS": "1"},
        stderr=subprocess.DEVNULL,
    ) as process:
        assert eventually(lambda: _answers(f"http://{address}/-/ready"))
        yield f"http://{address}"
        process.terminate()


def amtool(*words: str | Path) -> str:
    """What it prints; it must not fail."""
    command = [build.binaries()["amtool"], *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def receivers(config: Path, alert: AlertRule) -> str:
    """Who is told of an alert, as amtool names them."""
    labels = [f"{key}={value}" for key, value in _labels(alert).items()]
    return amtool("config", "routes", "test", f"--config.file={config}", *labels).strip()


def test_amtool_accepts_the_configuration() -> None:
    amtool("check-config", CONFIG)


def test_the_event_stream_has_every_alert_that_says_something() -> None:
    assert {alert.name for alert in EVERY if receivers(CONFIG, alert) != "events"} == UNTOLD


@pytest.mark.parametrize("name", ["webhook", "mail", "chat"])
def test_a_receiver_of_the_examples_notifies_people_and_the_event_stream(
    tmp_path: Path, name: str
) -> None:
    text = CONFIG.read_text()
    route, rest = text.split("    # - receiver: chat\n")
    route_of_person, rest = rest.split("\n\n", 1)
    example = re.search(rf"^  # - name: {name}\n(?:  # .*\n)+", rest, re.MULTILINE)
    assert example
    config = tmp_path / "alertmanager.yml"
    config.write_text(
        f"{route}    - receiver: {name}\n{_uncommented(route_of_person)}\n\n"
        + rest.replace(example[0], _uncommented(example[0]))
    )
    amtool("check-config", config)
    told = {(one.severity, receivers(config, one)) for one in EVERY if one.name not in UNTOLD}
    assert told == {
        ("info", "events"),
        ("warning", f"{name},events"),
        ("critical", f"{name},events"),
    }


def _uncommented(text: str) -> str:
    return re.sub(r"^( *)# ", r"\1", text, flags=re.MULTILINE)


def test_the_runbooks_commands_silence(alertmanager: str) -> None:
    prefix = "docker compose exec alertmanager amtool --alertmanager.url=http://127.0.0.1:9093 "
    lines = (REPO / "docs" / "runbook.md").read_text().splitlines()
    commands = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    assert len(commands) == len({alert.name for alert in EVERY})
    url = f"--alertmanager.url={alertmanager}"
    for command in commands:
        silence = amtool(url, *shlex.split(command)).strip()
        amtool(url, "silence", "expire", silence)


@pytest.mark.parametrize(
    ("cause", "held_back"),
    [
        ("LatencyBudgetBurn state.query", "LatencyOverThreshold state.query"),
        ("LatencyBudgetBurn state.query", "LatencyTrend state.query"),
        ("LatencyBudgetBurn state.query", "LatencyAnomaly state.query"),
        ("LatencyBudgetBurn state.query", "LatencyRegression state.query"),
        ("LatencyBudgetBurn state.query", "SlowOnAverage mean.duration"),
        ("LatencyOverThreshold session.init", "LatencyTrend session.init"),
        ("ErrorBudgetBurn error.rate", "AvailabilityBudgetBurn availability"),
        ("ErrorBudgetBurn error.rate", "ManyErrors errors"),
        ("TaskErrorsHigh task.errors", "TaskSuccessLow task.success"),
        ("CpuUtilizationHigh cpu.utilization", "LatencyBudgetBurn agent.spawn"),
        (
            "MemoryUtilizationHigh memory.utilization",
            "MemoryUtilizationSoonHigh memory.utilization",
        ),
        ("ExportsStalled", "QueueFull"),
        ("ExportsStalled", "SpoolBacklog"),
        ("QueueFull", "QueueFilling"),
        ("QueueFull", "SpoolBacklog"),
        ("SpoolNearBudget", "SpoolBacklog"),
        ("OperationsLost", "SpoolNearBudget"),
        ("CollectorDown", "NoOperations"),
        ("CollectorDown", "LatencyTrend session.init"),
        ("CollectorDown", "ExportsStalled"),
    ],
)
def test_a_cause_holds_back_what_it_explains(alertmanager: str, cause: str, held_back: str) -> None:
    assert _active(alertmanager, cause, held_back) == {cause}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LatencyBudgetBurn state.query", "LatencyTrend session.init"),
        ("LatencyBudgetBurn state.query", "LatencyBudgetBurn session.init"),
        ("LatencyBudgetBurn state.query", "ErrorBudgetBurn error.rate"),
        ("CpuUtilizationHigh cpu.utilization", "LatencyBudgetBurn recovery.run"),
        ("CollectorDown", "Watchdog"),
        ("CollectorDown", "MonitorDown"),
        ("CollectorDown", "OperationsLost"),
        ("CollectorDown", "SpoolNearBudget"),
        ("CollectorDown", "TelemetryLost"),
        ("CollectorDown", "CpuUtilizationHigh cpu.utilization"),
        ("ErrorBudgetBurn error.rate", "TaskErrorsHigh task.errors"),
    ],
)
def test_two_causes_are_both_sent(alertmanager: str, one: str, other: str) -> None:
    assert _active(alertmanager, one, other) == {one, other}


def _active(alertmanager: str, *chosen: str) -> set[str]:
    """Which of these alerts are told when they fire at once, and nothing else does."""
    by_name = {f"{one.name} {one.target}".strip(): one for one in EVERY}
    fired = {name: _labels(by_name[name]) for name in chosen}
    # Taken in order: once the last one is held back, the inhibition knows of all.
    cause, held_back = (
        {**_labels(by_name[f"{name} storage.growth"]), "target": "last"}
        for name in ("StorageGrowthHigh", "StorageGrowthSoonHigh")
    )
    every = [*fired.values(), held_back, cause]
    _send(alertmanager, every)
    try:
        assert eventually(lambda: _states(alertmanager, every, held_back))
        # Asked anew: an answer during which it settled has the first alerts as they were before.
        states = _states(alertmanager, every, held_back)
        return {name for name, labels in fired.items() if states[_key(labels)] == "active"}
    finally:
        _send(alertmanager, every, endsAt=datetime.now(UTC).isoformat())
        assert eventually(lambda: not _ask(f"{alertmanager}/api/v2/alerts"))


def _labels(alert: AlertRule) -> dict[str, str]:
    return {**alert.own_labels(), **alert.labels, "alertname": alert.name}


def _key(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)


def _states(alertmanager: str, every: list[dict[str, str]], last: dict[str, str]) -> dict[str, str]:
    found = _ask(f"{alertmanager}/api/v2/alerts")
    states = {_key(one["labels"]): one["status"]["state"] for one in found}
    is_settled = len(states) == len(every) and states[_key(last)] == "suppressed"
    return states if is_settled else {}


def _send(alertmanager: str, every: list[dict[str, str]], **times: str) -> None:
    body = json.dumps([{"labels": labels, **times} for labels in every]).encode()
    headers = {"Content-Type": "application/json"}
    address = f"{alertmanager}/api/v2/alerts"
    urllib.request.urlopen(
        urllib.request.Request(address, body, headers), timeout=ENDED_WITHIN_S
    ).close()


def _ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=ENDED_WITHIN_S) as answer:
        return json.load(answer)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=1).close()
    except OSError:
        return False
    return True
