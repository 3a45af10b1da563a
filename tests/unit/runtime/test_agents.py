from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import agents
from orchwatch.runtime.agents import AgentError, AgentPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 60.0
STUBBORN = (sys.executable, "-c", "import signal, sys; print(*sys.argv[1:2]); signal.pause()")

# A supervisor of its own: starts agents, says their pids, waits to be ended.
SUPERVISOR = """
import sys, time
from orchwatch.runtime.agents import AgentPool
with AgentPool("s") as pool:
    for number in range(2):
        print(pool.spawn(f"agent-{number}").process.pid, flush=True)
    while True:
        pool.receive(1.0)
"""


@pytest.fixture
def pool() -> Iterator[AgentPool]:
    with AgentPool("session-1") as pool:
        yield pool


def is_gone(pid: int) -> bool:
    """Whether a process has ended within the time limit; one that nobody has waited for has not."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_an_agent_is_ready_when_spawn_returns(
    pool: AgentPool, spans: Callable[[], list[dict[str, object]]]
) -> None:
    agent = pool.spawn("agent-1")
    assert agent.process.poll() is None
    assert pool.agents == {"agent-1": agent}
    by_name = {span["name"]: span for span in spans()}
    spawn = by_name["agent.spawn"]
    assert spawn["gen_ai.agent.name"] == "agent-1"
    agent.channel.deliver("task", {"id": "task-1", "files": ["ast.py"]})
    received = pool.receive(TIMEOUT_S)
    assert received is not None
    assert received[0] is agent
    assert received[1] is not None
    assert received[1].body["modules"][0]["file"] == "ast.py"


def test_what_an_agent_does_is_recorded_under_its_name(
    pool: AgentPool, spans: Callable[[], list[dict[str, object]]]
) -> None:
    pool.spawn("agent-1")
    pool.close()  # what it told us last, it records once we have answered
    by_name = {span["name"]: span for span in spans()}
    spawn, ready = by_name["agent.spawn"], by_name["message.deliver"]
    assert (ready["trace"], ready["parent"]) == (spawn["trace"], spawn["id"])
    assert ready["gen_ai.agent.name"] == "agent-1"
    assert ready["session.id"] == "session-1"


def test_the_death_of_an_agent_is_noticed(pool: AgentPool) -> None:
    agent = pool.spawn("agent-1")
    os.kill(agent.process.pid, signal.SIGKILL)
    assert pool.receive(TIMEOUT_S) == (agent, None)
    pool.end(agent)
    assert agent.process.returncode == -signal.SIGKILL
    assert pool.agents == {}


def test_closing_the_pool_ends_every_agent() -> None:
    with AgentPool("s") as pool:
        pids = [pool.spawn(f"agent-{number}").process.pid for number in range(3)]
    assert all(is_gone(pid) for pid in pids)


def test_a_stopped_agent_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "LEAVE_TIMEOUT_S", 0.2)
    with AgentPool("s") as pool:
        agent = pool.spawn("agent-1")
        os.kill(agent.process.pid, signal.SIGSTOP)
    assert agent.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("false",), "did not become ready \\(exit status 1\\)"),
        (STUBBORN, "did not become ready \\(exit status -9\\)"),
        (("/nowhere/worker",), "cannot be started: No such file"),
    ],
)
def test_an_agent_that_does_not_become_ready_is_one_clear_error(
    command: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SPAWN_TIMEOUT_S", 0.5)
    with (
        AgentPool("s", command) as pool,
        pytest.raises(AgentError, match=f"agent agent-1 {reason}"),
    ):
        pool.spawn("agent-1")
    assert pool.agents == {}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_agent_outlives_its_supervisor(ending: signal.Signals) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pids = [int(supervisor.stdout.readline()) for _ in range(2)]
    supervisor.send_signal(ending)
    supervisor.wait(TIMEOUT_S)
    assert all(is_gone(pid) for pid in pids)
