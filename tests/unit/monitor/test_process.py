"""The command as its users start it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from native import Ports
from orchwatch.agents.claude_code.settings import registration
from orchwatch.analysis import alert_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.monitor.conftest import Writer

WITHIN_S = 60


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, home: Path) -> int:  # noqa: ARG001 - it clears the environment
    number = Ports.free().monitor
    monkeypatch.setenv(registration.PORT_VARIABLE, str(number))
    return number


@pytest.fixture
def start(home: Path, port: int, projects: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:  # noqa: ARG001
    started = []

    def command() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchwatch.cli", "monitor", "--projects", str(projects)],
            env={**os.environ, "ORCHWATCH_HOME": str(home)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate()


def _eventually(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def _post(port: int, payload: dict[str, Any]) -> int | None:
    headers = {registration.SECRET_HEADER: registration.read_secret() or ""}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)) as connection:
        try:
            connection.request("POST", registration.HOOK_PATH, json.dumps(payload), headers)
            with connection.getresponse() as answer:
                return answer.status
        except ConnectionError:
            return None


def test_it_records_files_and_hooks_until_a_signal_ends_it(
    home: Path,
    port: int,
    session: Writer,
    start: Callable[[], subprocess.Popen[str]],
    spans: Callable[[], list[dict[str, Any]]],
) -> None:
    process = start()
    event = {"hook_event_name": "Notification", "session_id": session.session_id}
    assert _eventually(lambda: _post(port, event) == 200)
    session.turn(tools=2)
    assert _eventually(lambda: any(span["name"] == "agent.turn" for span in spans()))
    snapshot = _eventually(lambda: _read(home / "snapshot.json"))
    assert snapshot["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    names = [span["name"] for span in spans()]
    assert names.count("execute_tool Bash") == 2
    assert [line.split(" ", 2)[2] for line in told.splitlines()] == [
        f"following {session.path.parents[1]}; hooks post to port {port}",
        f"ended; {len(names)} spans recorded",
    ]


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


def test_a_second_one_over_the_same_home_says_so(
    home: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
    start()
    _eventually((home / "snapshot.json").exists)
    second = start()
    _, told = second.communicate(timeout=WITHIN_S)
    assert (second.returncode, told) == (
        1,
        f"orchwatch: another monitor already runs over {home}\n",
    )


def test_a_port_that_is_taken_is_one_clear_line(
    port: int, start: Callable[[], subprocess.Popen[str]]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        process = start()
        _, told = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1
    assert told.count("\n") == 1
    assert str(port) in told
    assert registration.PORT_VARIABLE in told


def test_ctrl_c_ends_it_in_order(home: Path, start: Callable[[], subprocess.Popen[str]]) -> None:
    process = start()
    _eventually((home / "monitor" / "checkpoint.json").exists)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert "Traceback" not in told


def test_an_alert_is_written_once_although_the_process_is_killed(
    home: Path, port: int, start: Callable[[], subprocess.Popen[str]]
) -> None:
    sent = {
        "status": "firing",
        "labels": {"alertname": "A"},
        "startsAt": "2026-11-22T20:15:03Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "1",
    }

    def told() -> bool:
        secret = (home / "alertmanager" / "credentials").read_text().strip()
        headers = {"Authorization": f"Bearer {secret}"}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)) as connection:
            try:
                connection.request("POST", "/alerts", json.dumps({"alerts": [sent]}), headers)
                with connection.getresponse() as answer:
                    return answer.status == 200
            except ConnectionError:
                return False

    for _ in range(2):
        process = start()
        assert _eventually((home / "alertmanager" / "credentials").exists)
        assert _eventually(told)
        process.kill()
        process.wait()
    assert len(alert_events.latest(home / "spool", 10)) == 1


def test_prometheus_may_ask_for_figures_without_a_secret(
    port: int, start: Callable[[], subprocess.Popen[str]]
) -> None:
    start()

    def figures() -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)) as connection:
            try:
                connection.request("GET", "/metrics")
                return connection.getresponse().read()
            except ConnectionError:
                return b""

    assert b"\norchestration_telemetry_lost" in _eventually(figures)


def test_its_health_can_be_checked(port: int, start: Callable[[], subprocess.Popen[str]]) -> None:
    ask = [sys.executable, "-m", "orchwatch.cli", "monitor", "--check"]
    silent = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert (silent.returncode, silent.stdout) == (3, "")
    assert silent.stderr.startswith(f"orchwatch: no monitor answers at 127.0.0.1:{port}: ")
    assert silent.stderr.count("\n") == 1
    start()

    def answer() -> str:
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=WITHIN_S)
        return done.stdout if done.returncode == 0 else ""

    assert _eventually(answer) == f"monitor at 127.0.0.1:{port}: it follows\n"
