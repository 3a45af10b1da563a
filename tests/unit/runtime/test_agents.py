from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import processes
from orchwatch.runtime.agents import AgentError, AgentPool, Launch, Limits
from orchwatch.runtime.hooks import Hook
from orchwatch.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.runtime.agents import AgentEvent

TIMEOUT_S = 60.0
# Says that it is ready, then works until it is ended.
SHELL = ("sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD; while :; do sleep 60; done")
STUBBORN = (
    "sh",
    "-c",
    "trap '' TERM; echo ready >/dev/fd/$ORCHWATCH_READY_FD; while :; do sleep 60; done",
)
# Leaves a child in its group and one in a session of its own, and says their pids.
PARENT = (
    "sh",
    "-c",
    """sleep 600 & echo $! >>$0; setsid sleep 600 & echo $! >>$0
    echo ready >/dev/fd/$ORCHWATCH_READY_FD; wait""",
)
FAST = Limits(ready_s=TIMEOUT_S, backoff_s=0.01, max_backoff_s=TIMEOUT_S, grace_s=TIMEOUT_S)

# A supervisor of its own: starts agents, says their pids, waits to be ended.
SUPERVISOR = """
import json, sys
from orchwatch.runtime.agents import AgentPool, Limits
with AgentPool("s", Limits(ready_s=100.0)) as pool:
    pids = [pool.spawn(f"a{n}", json.loads(sys.argv[1])).process.pid for n in range(2)]
    print(json.dumps([*pids, pool._guard.pid]), flush=True)
    while True:
        pool.receive(60.0)
"""


@pytest.fixture
def pool() -> Iterator[AgentPool]:
    with AgentPool("session-1", FAST) as pool:
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


def next_event(pool: AgentPool) -> AgentEvent:
    event = pool.receive(TIMEOUT_S)
    assert event is not None
    return event


def events_until_it_is_over(pool: AgentPool) -> list[str]:
    kinds: list[str] = []
    while not kinds or kinds[-1] not in ("ended", "failed"):
        kinds.append(next_event(pool).kind)
    return kinds


def pids_in(file: Path, number: int) -> list[int]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = file.read_text().split() if file.exists() else []
        if len(found) == number:
            return [int(pid) for pid in found]
    raise AssertionError(file)


def test_an_agent_of_any_command_is_ready_when_spawn_returns(
    pool: AgentPool, spans: Callable[[], list[dict[str, object]]]
) -> None:
    agent = pool.spawn("agent-1", SHELL)
    assert agent.process.poll() is None
    assert pool.agents == {"agent-1": agent}
    (spawn,) = [span for span in spans() if span["name"] == "agent.spawn"]
    assert spawn["gen_ai.agent.name"] == "agent-1"
    assert spawn["process.pid"] == str(agent.process.pid)
    event = next_event(pool)
    assert (event.agent, event.kind, event.pid) == ("agent-1", "ready", agent.process.pid)


def test_what_an_agent_does_is_recorded_under_its_name(
    pool: AgentPool, spans: Callable[[], list[dict[str, object]]]
) -> None:
    code = (
        "from orchwatch import attach, operation; import os\n"
        "from orchwatch.runtime.agents import say_ready\n"
        "with attach(os.environ), operation('state.query'): pass\n"
        "say_ready(); say_ready()"
    )
    pool.spawn("agent-1", [sys.executable, "-c", code])
    assert events_until_it_is_over(pool) == ["ready", "ended"]
    by_name = {span["name"]: span for span in spans()}
    spawn, query = by_name["agent.spawn"], by_name["state.query"]
    assert (query["trace"], query["parent"]) == (spawn["trace"], spawn["id"])
    assert query["gen_ai.agent.name"] == "agent-1"
    assert query["session.id"] == "session-1"


def test_one_that_cannot_say_that_it_is_ready_is_so_once_it_runs(pool: AgentPool) -> None:
    agent = pool.spawn("a", lambda _name: Launch(command=["sleep", "600"], announces=False))
    assert agent.process.poll() is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["false"], r"did not become ready \(exit status 1\)"),
        (["sleep", "600"], r"did not become ready in time \(exit status -15\)"),
        # It is over, and what it has left behind holds the pipe open.
        (["sh", "-c", "sleep 600 & exit 7"], r"ended before it was ready \(exit status 7\)"),
        (["sh", "-c", 'exec 9>&-; eval "exec $ORCHWATCH_READY_FD>&-"; sleep 600'], "did not"),
        (["/nowhere/worker"], "cannot be started: No such file"),
        (["/"], "cannot be started: Permission denied"),
        (["a\0b"], "cannot be started: embedded null byte"),
        ([], "cannot be started"),
    ],
)
def test_an_agent_that_does_not_become_ready_is_one_clear_error_and_leaves_nothing(
    command: list[str], reason: str
) -> None:
    with AgentPool("s", Limits(ready_s=1.0)) as pool:
        with pytest.raises(AgentError, match=f"agent agent-1 {reason}") as raised:
            pool.spawn("agent-1", command)
        assert "\n" not in str(raised.value)
        assert pool.agents == {}
        assert processes.marked(lambda mark: mark == pool._mark) == []


def test_a_lost_agent_is_started_again_ever_later_and_not_for_ever(pool: AgentPool) -> None:
    with capture() as captured:
        agent = pool.spawn("a", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD; exit 3"])
        kinds = events_until_it_is_over(pool)
    assert kinds == ["ready", "lost"] * 4 + ["failed"]
    assert agent.starts == 1 + FAST.restarts
    assert len([each for each in captured.operations if each.name == "agent.spawn"]) == 4
    assert sum(metric.value for metric in captured.counters) == FAST.restarts


def test_pauses_between_restarts_double_up_to_their_limit() -> None:
    waited: list[float] = []

    class Noting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waited.append(timeout)
            return False

    limits = Limits(ready_s=TIMEOUT_S, restarts=5, backoff_s=0.1, max_backoff_s=0.5)
    with AgentPool("s", limits) as pool:
        agent = pool.spawn("a", SHELL)
        agent.stopping = Noting()
        agent.start = ["false"]
        agent.process.kill()
        kinds = events_until_it_is_over(pool)
    assert kinds == ["ready", "lost", "failed"]
    assert waited == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_killed_agent_comes_back_under_its_name(pool: AgentPool) -> None:
    agent = pool.spawn("a", SHELL)
    first = agent.process.pid
    os.kill(first, signal.SIGKILL)
    assert [next_event(pool).kind for _ in range(2)] == ["ready", "lost"]
    back = next_event(pool)
    assert back.kind == "ready"
    assert back.pid == agent.process.pid != first
    assert pool.agents == {"a": agent}


def test_one_that_ends_by_itself_is_over(pool: AgentPool) -> None:
    pool.spawn("a", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD"])
    assert events_until_it_is_over(pool) == ["ready", "ended"]
    pool.spawn("b", SHELL)
    assert list(pool.agents) == ["b"]


def test_one_that_runs_too_long_is_ended_and_started_again() -> None:
    limits = Limits(ready_s=TIMEOUT_S, run_s=0.1, restarts=1, backoff_s=0.0)
    with AgentPool("s", limits) as pool:
        pool.spawn("a", SHELL)
        assert events_until_it_is_over(pool) == ["ready", "timeout"] * 2 + ["failed"]


def test_no_more_run_at_once_than_may() -> None:
    with AgentPool("s", Limits(agents=2, ready_s=0.2)) as small:
        for name in ("a", "b"):
            small.spawn(name, lambda _name: Launch(command=["sleep", "600"], announces=False))
        with pytest.raises(AgentError, match=r"agent c: no place for it within 0\.2 s, as 2 run"):
            small.spawn("c", SHELL)
    with AgentPool("s", Limits(agents=1, ready_s=TIMEOUT_S)) as small:
        first = small.spawn("a", SHELL)
        threading.Thread(target=small.stop, args=("a",)).start()
        small.spawn("b", SHELL)
        assert first.process.returncode is not None


def test_a_name_is_taken_while_its_agent_runs(pool: AgentPool) -> None:
    pool.spawn("a", SHELL)
    with pytest.raises(AgentError, match="agent a: another one of that name runs"):
        pool.spawn("a", SHELL)
    pool.stop("a")
    pool.spawn("a", SHELL)
    with pytest.raises(AgentError, match="agent 'b' does not run"):
        pool.stop("b")


def test_stopping_ends_an_agent_in_order_and_for_good(pool: AgentPool, tmp_path: Path) -> None:
    code = (
        f"trap 'echo last >{tmp_path}/said; exit 0' TERM; echo ready >/dev/fd/$ORCHWATCH_READY_FD;"
    )
    agent = pool.spawn("a", ["sh", "-c", f"{code} while :; do sleep 0.1; done"])
    pool.stop("a")
    assert (tmp_path / "said").read_text() == "last\n"
    assert agent.process.returncode == 0
    assert events_until_it_is_over(pool) == ["ready", "ended"]
    assert pool.agents == {}


@pytest.mark.parametrize("command", [SHELL, STUBBORN])
def test_stopped_and_stubborn_agents_are_ended_all_the_same(command: tuple[str, ...]) -> None:
    with AgentPool("s", Limits(ready_s=TIMEOUT_S, grace_s=0.2)) as pool:
        agent = pool.spawn("a", command)
        if command is SHELL:
            os.kill(agent.process.pid, signal.SIGSTOP)
    assert agent.process.returncode is not None
    assert agent.process.returncode < 0


def test_what_an_agent_has_started_ends_with_it(pool: AgentPool, tmp_path: Path) -> None:
    pool.spawn("a", [*PARENT, str(tmp_path / "pids")])
    in_group, elsewhere = pids_in(tmp_path / "pids", 2)
    pool.stop("a")
    assert is_gone(in_group)
    pool.close()
    assert is_gone(elsewhere)


def test_closing_ends_every_agent_and_the_guard() -> None:
    with AgentPool("s", FAST) as pool:
        pids = [pool.spawn(f"a{number}", SHELL).process.pid for number in range(3)]
        assert pool._guard is not None
        pids.append(pool._guard.pid)
    assert all(is_gone(pid) for pid in pids)
    pool.close()
    with pytest.raises(AgentError, match="the pool is closed"):
        pool.spawn("late", SHELL)


def test_those_that_leave_by_themselves_are_given_the_time() -> None:
    says, told = os.pipe()
    with AgentPool("s", FAST) as pool:
        agent = pool.spawn(
            "a",
            lambda _name: Launch(
                command=["sh", "-c", f"cat </dev/fd/{says}"],
                pass_fds=(says,),
                announces=False,
            ),
        )
        os.close(told)
        pool.close(leave_s=TIMEOUT_S)
    assert agent.process.returncode == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_agent_outlives_its_supervisor(ending: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, json.dumps([*PARENT, str(file)])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pids = json.loads(supervisor.stdout.readline())
    pids += pids_in(file, 4)
    supervisor.send_signal(ending)
    supervisor.wait(TIMEOUT_S)
    assert all(is_gone(pid) for pid in pids)


def test_a_killed_guard_is_replaced(pool: AgentPool) -> None:
    pool.spawn("a", SHELL)
    first = pool._guard
    assert first is not None
    first.kill()
    first.wait()
    pool.spawn("b", SHELL)
    assert pool._guard is not None
    assert pool._guard is not first
    assert pool._guard.poll() is None


def test_hooks_run_before_and_after(tmp_path: Path) -> None:
    def hook(code: int) -> Hook:
        script = f"cat >>{tmp_path}/told; echo >>{tmp_path}/told; echo no >&2; exit {code}"
        return Hook(command=("sh", "-c", script), timeout_s=TIMEOUT_S)

    with AgentPool("s", FAST, before=hook(0), after=hook(1)) as pool:
        pool.spawn("a", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD"])
        assert events_until_it_is_over(pool) == ["ready", "ended"]
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [each["hook_event_name"] for each in told] == ["SubagentStart", "SubagentStop"]
    assert {each["agent_id"] for each in told} == {"a"}
    assert told[1]["exit_status"] == 0
    with (
        AgentPool("s", FAST, before=hook(2)) as pool,
        pytest.raises(AgentError, match="agent a: a hook refused it: no"),
    ):
        pool.spawn("a", SHELL)
    assert pool.agents == {}


def test_a_hook_that_cannot_be_run_stops_nothing() -> None:
    with AgentPool("s", FAST, after=Hook(command=("/nowhere/hook",))) as pool:
        pool.spawn("a", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD"])
        assert events_until_it_is_over(pool) == ["ready", "ended"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"agents": 0}, "agents must be an int of at least 1"),
        ({"agents": 1.5}, "agents must be an int of at least 1"),
        ({"restarts": -1}, "restarts must be an int of at least 0"),
        ({"grace_s": -1}, "grace_s must be a finite number of seconds, not -1"),
        ({"run_s": float("nan")}, "run_s must be a finite number of seconds, not nan"),
        ({"ready_s": float("inf")}, "ready_s must be a finite number of seconds, not inf"),
        ({"backoff_s": 1e300}, "backoff_s must be a finite number of seconds, not 1e\\+300"),
        ({"max_backoff_s": "1"}, "max_backoff_s must be a finite number of seconds, not '1'"),
        ({"grace_s": None}, "grace_s must be a finite number of seconds, not None"),
    ],
)
def test_a_limit_that_is_none_is_one_clear_error(limits: dict[str, float], reason: str) -> None:
    with pytest.raises(AgentError, match=reason):
        Limits(**limits)  # type: ignore[arg-type]


def test_a_hundred_failures_leave_no_descriptor_open(pool: AgentPool) -> None:
    def open_descriptors() -> int:
        gc.collect()  # what other tests left open is closed now, not while descriptors are counted
        return len(os.listdir("/proc/self/fd"))

    pool.spawn("first", SHELL)
    before = open_descriptors()
    for _ in range(20):
        with pytest.raises(AgentError):
            pool.spawn("a", ["/nowhere/worker"])
        with pytest.raises(AgentError):
            pool.spawn("a", ["false"])
    assert open_descriptors() == before


def test_once_an_end_is_told_another_one_of_that_name_may_be_started() -> None:
    quick = ("sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD")
    with AgentPool("session-1", Limits(ready_s=TIMEOUT_S, agents=1)) as pool:
        for _ in range(10):
            pool.spawn("a", quick)
            assert [next_event(pool).kind for _ in range(2)] == ["ready", "ended"]


def test_a_restart_that_the_callers_code_refuses_ends_the_agent_and_says_why() -> None:
    starts: list[str] = []

    def start(name: str) -> Launch:
        starts.append(name)
        if len(starts) > 1:
            raise LookupError("no more of them")
        return Launch(command=SHELL)

    limits = Limits(ready_s=TIMEOUT_S, backoff_s=0.01, restarts=1, grace_s=TIMEOUT_S)
    with AgentPool("session-1", limits) as pool:
        os.kill(pool.spawn("a", start).process.pid, signal.SIGKILL)
        events = [next_event(pool) for _ in range(3)]
        assert [event.kind for event in events] == ["ready", "lost", "failed"]
        assert events[-1].reason == "no more of them"
        pool.spawn("a", SHELL)  # its name and its place are free
