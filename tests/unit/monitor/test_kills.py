"""The monitor process, killed at random moments while events are posted to it.

A dozen times; ORCHWATCH_TEST_KILLS says how often instead.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from native import Ports
from orchwatch.agents.claude_code.settings import registration
from orchwatch.agents.sessions import ids
from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = int(os.environ.get("ORCHWATCH_TEST_KILLS", "12"))
CLIENTS = 3
WITHIN_S = 120


class Client(threading.Thread):
    """Posts the beginnings and ends of tasks, each until it is told that it was taken."""

    def __init__(self, number: int, port: int, secret: str) -> None:
        super().__init__(daemon=True)
        self.session = f"00000000-0000-4000-8000-{number:012d}"
        self.done: list[str] = []  # tasks whose both ends were acknowledged
        self.repeated = 0
        self.is_told_to_end = threading.Event()
        self._is_done = threading.Event()
        self._port = port
        self._headers = {registration.SECRET_HEADER: secret}

    def run(self) -> None:
        while not self.is_told_to_end.is_set():
            task = f"task-{len(self.done)}"
            for event in ("TaskCreated", "TaskCompleted"):
                while not self._is_taken(event, task):
                    self.repeated += 1
                    time.sleep(0.01)
            self.done.append(task)
            self._is_done.set()

    def wait_for_one_more(self) -> None:
        self._is_done.clear()
        assert self._is_done.wait(WITHIN_S)

    def _is_taken(self, event: str, task: str) -> bool:
        body = {
            "hook_event_name": event,
            "session_id": self.session,
            "prompt_id": "p",
            "task_id": task,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WITHIN_S)
        try:
            connection.request("POST", registration.HOOK_PATH, json.dumps(body), self._headers)
            with connection.getresponse() as answer:
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.mark.usefixtures("home")
@pytest.mark.timeout(300 + 10 * KILLS)
def test_what_was_acknowledged_is_recorded_once_whenever_the_monitor_is_killed(
    projects: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: Callable[..., list[dict[str, Any]]],
) -> None:
    port = Ports.free().monitor
    monkeypatch.setenv(registration.PORT_VARIABLE, str(port))
    clients = [Client(number, port, registration.make_secret()) for number in range(CLIENTS)]
    moments = random.Random(9)
    process = _start(projects)
    for client in clients:
        client.start()
    for number in range(KILLS):
        if number % 4:  # else wherever it is by then, on its way up, say
            for client in clients:
                client.wait_for_one_more()
        time.sleep(moments.uniform(0.0, 0.7))
        process.kill()
        process.wait()
        process = _start(projects)
    for client in clients:
        client.is_told_to_end.set()
        client.join(WITHIN_S)
        assert not client.is_alive()

    def found() -> Counter[str]:
        return Counter(span["spanId"] for span in recorded() if span["name"] == "agent.task")

    expected = {
        ids.event("task", client.session, task) for client in clients for task in client.done
    }
    _wait(lambda: expected <= set(found()))
    process.terminate()
    process.wait(WITHIN_S)
    times = found()
    repeated = sum(client.repeated for client in clients)
    print(f"{KILLS} kills: {len(expected)} tasks acknowledged, {repeated} events posted again")
    assert times.keys() == expected
    assert set(times.values()) == {1}
    assert {reason: number for reason, number in losses.read().items() if number} == {}


def _start(projects: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchwatch.cli", "monitor", "--projects", str(projects)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)
