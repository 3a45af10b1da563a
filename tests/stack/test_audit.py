"""`orchwatch audit` against the real Collector, Prometheus and Tempo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import eventually

from orchwatch.diagnosis import client

if TYPE_CHECKING:
    from collections.abc import Callable

    from native import Stack

Json = dict[str, Any]

# Longer than the audit takes an operation for too young to be missed.
SETTLED_WITHIN_S = 150.0
WORK = """
import sys
from orchwatch import operation
for index in range(int(sys.argv[1])):
    with operation("state.query") as op:
        with operation("event.process"):
            pass
print(op.trace_id)
"""


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


def python(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "ORCHWATCH_HOME": str(stack.home)},
        capture_output=True,
        text=True,
        check=False,
    )


def work(stack: Stack, number: int) -> str:
    """Runs that many operations with a child each; returns the last one's trace id."""
    done = python(stack, "-c", WORK, str(number))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def audit(stack: Stack, *options: str) -> tuple[int, Json]:
    done = python(stack, "-m", "orchwatch.cli", "audit", "--format", "json", *options)
    assert done.stdout, done.stderr
    found: Json = json.loads(done.stdout)
    return done.returncode, found


def until(stack: Stack, holds: Callable[[Json], bool]) -> tuple[int, Json]:
    """The audit, once that holds of it."""
    found: tuple[int, Json] = (0, {})

    def does() -> bool:
        nonlocal found
        found = audit(stack)
        return holds(found[1])

    assert eventually(does, SETTLED_WITHIN_S), found
    return found


def settled(found: Json) -> bool:
    """Nothing is too young to be missed any more."""
    return bool(found["tempo"]["pending"] == found["prometheus"]["pending"] == 0)


def complete(found: Json) -> bool:
    """Both servers hold all that was emitted."""
    return all(found[name]["found"] == found[name]["expected"] for name in ("tempo", "prometheus"))


def wait_for_trace(stack: Stack, trace_id: str) -> None:
    def there() -> bool:
        found = client.get_json("Tempo", stack.tempo_url, f"/api/v2/traces/{trace_id}")
        return bool(found["trace"])

    assert eventually(there, SETTLED_WITHIN_S, every_s=0.02)


def test_all_that_was_emitted_is_found_and_what_is_stored_apart_is_not_counted(
    stack: Stack,
) -> None:
    work(stack, 200)
    line = (stack.spool / "operations-000001.jsonl").read_bytes().splitlines(keepends=True)[1]
    for family in ("undelivered", "history"):
        # A span of its own: another span id.
        own = json.loads(line)
        own["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] = os.urandom(8).hex()
        header = {"orchwatch": {"segment": family, "id": os.urandom(16).hex()}, "resourceSpans": []}
        (stack.spool / f"{family}-000001.jsonl").write_text(
            json.dumps(header) + "\n" + json.dumps(own) + "\n"
        )
    code, found = until(stack, complete)
    assert found["emitted"] == {"operations": 400, "undelivered": 1, "history": 1}
    assert (found["tempo"]["expected"], found["tempo"]["found"]) == (402, 402)
    assert (found["prometheus"]["expected"], found["prometheus"]["found"]) == (400, 400)
    assert any("not counted in Prometheus" in text for text in found["explanations"])
    assert code == 0


def test_counting_goes_on_exactly_when_the_collector_is_killed_while_it_is_idle(
    stack: Stack,
) -> None:
    for number in (7, 11, 3):
        work(stack, number)
        code, found = until(stack, complete)
        assert code == 0
        stack.kill_component("collector", signal.SIGKILL)
        stack.start_component("collector")
    work(stack, 20)
    code, found = until(stack, complete)
    assert (found["prometheus"]["expected"], found["prometheus"]["found"]) == (82, 82)
    assert found["prometheus"]["restarts"] >= 1
    assert code == 0


def test_a_collector_killed_while_it_counts_is_said_to_have_forgotten(stack: Stack) -> None:
    work(stack, 50)
    until(stack, complete)
    wait_for_trace(stack, work(stack, 50))
    stack.kill_component("collector", signal.SIGKILL)
    stack.start_component("collector")
    wait_for_trace(stack, work(stack, 10))

    def missed_of(found: Json) -> int:
        return sum(found["prometheus"]["uncounted"].values())

    # Only what came after the last flush can be gone.
    code, found = until(stack, lambda found: settled(found) and missed_of(found) <= 100)
    assert found["tempo"]["found"] == found["tempo"]["expected"] == 220
    missed = missed_of(found)
    assert found["prometheus"]["found"] == 220 - missed
    if missed:
        assert any("forgets what it counted" in text for text in found["explanations"])
    assert code == 0


def test_what_a_killed_tempo_lost_is_found_and_sent_again(stack: Stack) -> None:
    for _ in range(5):
        wait_for_trace(stack, work(stack, 100))
        # It has acknowledged them, and holds them in memory only.
        stack.kill_component("tempo", signal.SIGKILL)
        stack.start_component("tempo")
        wait_for_trace(stack, work(stack, 1))
        code, found = until(stack, settled)
        if found["tempo"]["lost"]:
            break
    lost = found["tempo"]["lost"]
    assert code == 3
    assert lost > 0
    assert found["tempo"]["found"] == found["tempo"]["expected"] - lost
    assert any("--resend" in text for text in found["explanations"])

    code, found = audit(stack, "--resend")
    assert (code, found["tempo"]["resent"]) == (3, lost)
    code, found = until(stack, complete)
    assert found["tempo"]["lost"] == found["tempo"]["undelivered"] == 0
    # They are stored again and not counted again.
    assert found["prometheus"]["found"] == found["prometheus"]["expected"]
    assert code == 0


def test_while_the_collector_is_down_nothing_is_sent_again_because_it_delivers_itself(
    stack: Stack,
) -> None:
    stack.kill_component("collector", signal.SIGKILL)
    work(stack, 5)
    code, found = until(stack, settled)
    assert (code, found["tempo"]["undelivered"]) == (3, 10)
    code, found = audit(stack, "--resend")
    assert (code, found["tempo"]["resent"]) == (3, 0)
    stack.start_component("collector")
    wait_for_trace(stack, work(stack, 1))
    code, found = until(stack, complete)
    assert code == 0
    assert found["tempo"]["found"] == found["prometheus"]["found"] == 12
