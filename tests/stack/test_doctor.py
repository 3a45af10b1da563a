"""What the doctor says about the real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.stack.conftest import Json, eventually, opened

if TYPE_CHECKING:
    from native import Stack

ORCHWATCH = [sys.executable, "-m", "orchwatch.cli"]
VISIBLE_WITHIN_S = 200
# Once might be luck: the newest operation can be fast.
IN_A_ROW = 10
SERVERS = ("Collector", "Prometheus", "Tempo", "Alertmanager")
FRESH = ("Prometheus is fresh", "Tempo is fresh")

# Two operations a second, until it is killed.
BUSY = """
import time
from orchwatch import operation
while True:
    with operation("doctor.probe"):
        time.sleep(0.5)
"""


def orchwatch(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ORCHWATCH, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ORCHWATCH_HOME": str(stack.home)},
    )


def states(stack: Stack) -> dict[str, str]:
    checks = json.loads(orchwatch(stack, "doctor", "--format", "json").stdout)["checks"]
    return {check["name"]: check["state"] for check in checks}


def test_a_stack_in_order_is_found_ready_and_fresh_with_its_versions(own_stack: Stack) -> None:
    stack = own_stack
    assert orchwatch(stack, "run", "--", "true").returncode == 0
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    late = (*FRESH, "Alertmanager")
    while {states(stack)[name] for name in late} != {"ok"} and time.monotonic() < deadline:
        pass
    ended = orchwatch(stack, "doctor", "--format", "json")
    found = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert {name: found[name]["state"] for name in (*SERVERS, *FRESH)} == dict.fromkeys(
        (*SERVERS, *FRESH), "ok"
    )
    assert all(", version " in found[name]["found"] for name in SERVERS)
    assert "gets Prometheus' alerts" in found["Alertmanager"]["found"]
    # Only `make up` starts one.
    assert found["monitor"]["state"] == "warn"
    assert "make up" in found["monitor"]["remedy"]
    assert ended.returncode == 0


def test_a_silence_for_days_and_one_of_everything_are_named(own_stack: Stack) -> None:
    stack = own_stack

    def add(matcher: Json, hours: float) -> None:
        now = datetime.now(UTC)
        end = now + timedelta(hours=hours)
        silence = {
            "matchers": [{"isEqual": True, **matcher}],
            "startsAt": now.isoformat(),
            "endsAt": end.isoformat(),
            "createdBy": "anna",
            "comment": "why",
        }
        request = urllib.request.Request(
            f"{stack.alertmanager_url}/api/v2/silences",
            json.dumps(silence).encode(),
            {"Content-Type": "application/json"},
        )
        opened(request).close()

    def found() -> Json:
        checks = json.loads(orchwatch(stack, "doctor", "--format", "json").stdout)["checks"]
        return next((check for check in checks if check["name"] == "silences"), {})

    add({"name": "alertname", "value": "QueueFull", "isRegex": False}, 2)
    assert eventually(found)["state"] == "ok"
    add({"name": "alertname", "value": "QueueFilling", "isRegex": False}, 48)
    add({"name": "severity", "value": "info|warning|critical", "isRegex": True}, 1)
    told = found()
    assert told["state"] == "warn"
    assert 'alertname="QueueFilling" until ' in told["found"]
    assert 'severity=~"info|warning|critical" hides every alert until ' in told["found"]
    assert 'alertname="QueueFull"' not in told["found"]


def test_a_busy_stack_is_found_fresh_while_the_newest_operation_is_on_its_way(
    own_stack: Stack,
) -> None:
    stack = own_stack
    environment = {**os.environ, "ORCHWATCH_HOME": str(stack.home)}
    fresh: list[bool] = []
    with subprocess.Popen([sys.executable, "-c", BUSY], env=environment) as busy:
        try:
            deadline = time.monotonic() + VISIBLE_WITHIN_S
            while fresh[-IN_A_ROW:] != [True] * IN_A_ROW and time.monotonic() < deadline:
                found = states(stack)
                fresh.append({found.get(name) for name in FRESH} == {"ok"})
        finally:
            busy.kill()
    assert fresh[-IN_A_ROW:] == [True] * IN_A_ROW


def test_a_server_that_was_killed_fails_while_the_others_run(own_stack: Stack) -> None:
    stack = own_stack
    stack.kill_component("prometheus", signal.SIGKILL)
    # On a busy machine another one may be too slow for the doctor once.
    told = "orchwatch: 1 failed: Prometheus\n"
    eventually(lambda: orchwatch(stack, "doctor").stderr == told, VISIBLE_WITHIN_S)
    ended = orchwatch(stack, "doctor")
    assert (ended.returncode, ended.stderr) == (3, told)
    assert str(stack.log("prometheus")) in ended.stdout
