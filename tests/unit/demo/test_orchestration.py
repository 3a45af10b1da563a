from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from orchwatch import semconv
from orchwatch.demo import orchestration, policy, session, symbols
from orchwatch.demo.crew import Crew
from orchwatch.demo.orchestration import Orchestration
from orchwatch.demo.session import Session
from orchwatch.errors import OrchwatchError
from orchwatch.runtime import hooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEN_OPERATIONS = {
    semconv.SESSION_INIT,
    semconv.STATE_QUERY,
    semconv.HOOK_PROCESS,
    semconv.DASHBOARD_REFRESH,
    semconv.AGENT_SPAWN,
    semconv.EVENT_PROCESS,
    semconv.STATE_PERSIST,
    semconv.MESSAGE_DELIVER,
    semconv.DEPENDENCY_RESOLVE,
    semconv.RECOVERY_RUN,
}
FILES = symbols.library_files(120)


def prepared(
    root: Path, files: list[str] = FILES, refresh: Callable[[], None] = lambda: None
) -> Orchestration:
    return Orchestration(root=root, files=files, agents=3, refresh=refresh, say=lambda _line: None)


@pytest.fixture
def children() -> Callable[[], set[psutil.Process]]:
    """The processes below this one that the test has left; servers of other tests may be there."""

    def all_of_them() -> set[psutil.Process]:
        return set(psutil.Process().children(recursive=True))

    before = all_of_them()
    return lambda: all_of_them() - before


def test_the_agents_find_exactly_what_one_process_alone_finds(
    tmp_path: Path,
    flat_spans: Callable[[], list[dict[str, object]]],
    children: Callable[[], set[psutil.Process]],
) -> None:
    outcome = prepared(tmp_path).run()
    assert outcome.totals == symbols.count_alone(FILES)
    assert outcome.totals.files == len(FILES)
    assert len(outcome.recovered) == 1
    assert children() == set()

    recorded = flat_spans()
    assert [span["name"] for span in recorded if span["failed"]] == []
    assert {span["name"] for span in recorded} >= TEN_OPERATIONS
    assert {span["trace"] for span in recorded} == {outcome.trace_id}
    assert {span["session.id"] for span in recorded} == {outcome.session_id}
    ids = {span["id"] for span in recorded}
    roots = [span["name"] for span in recorded if not span["parent"]]
    assert roots == ["orchestration.run"]
    # An agent that was killed could not record the batch it was in, only what it had asked before.
    orphans = [span for span in recorded if span["parent"] and span["parent"] not in ids]
    assert {span.get("gen_ai.agent.name") for span in orphans} <= set(outcome.recovered)
    work = [span for span in recorded if span["name"] == "agent.task"]
    assert {span["gen_ai.agent.name"] for span in work} == {"agent-1", "agent-2", "agent-3"}
    asked = [span for span in recorded if span.get("orchestration.hook.event_name") == "PreToolUse"]
    assert {span["parent"] for span in asked} >= {
        span["id"] for span in work if "batch" in str(span[semconv.TASK_ID])
    }


def test_what_was_begun_by_a_killed_agent_is_handed_out_again(tmp_path: Path) -> None:
    said: list[str] = []
    run = prepared(tmp_path)
    run._say = said.append
    outcome = run.run()
    (killed,) = (line for line in said if "killed in the middle of" in line)
    (again,) = (line for line in said if "handed out again" in line)
    assert again.endswith(killed.rpartition(" ")[2])
    with Session(tmp_path, outcome.session_id, "test") as opened:
        assert opened.state.status == "closed"
        assert {task.status for task in opened.tasks.tasks()} == {"completed"}
        assert opened.queries.query("$.tasks[?@.status != 'completed']") == []
        opened.events.verify()
        assert json.loads(opened.state.view.read_text()) == opened.state.document


def test_a_run_that_fails_says_so_in_its_session(tmp_path: Path) -> None:
    run = prepared(tmp_path, files=["/etc/passwd"])
    with pytest.raises(OrchwatchError):
        run.run()
    with Session(tmp_path, run._session.id, "test") as opened:
        assert opened.state.status == "failed"


def test_an_agent_that_is_gone_already_cannot_be_killed(tmp_path: Path) -> None:
    with Session(tmp_path, "s", "supervisor") as opened, Crew(opened, tmp_path) as crew:
        assert crew.kill("agent-1") is None


def test_an_agent_killed_from_outside_costs_nothing_but_time(
    tmp_path: Path, children: Callable[[], set[psutil.Process]]
) -> None:
    orchestration = prepared(tmp_path)
    killed: list[int] = []

    def kill_one() -> None:
        agents = orchestration._crew.names
        pid = orchestration._crew.kill(agents[0]) if len(killed) < 2 and agents else None
        if pid is not None:
            killed.append(pid)

    orchestration._refresh = kill_one
    outcome = orchestration.run()
    assert outcome.totals == symbols.count_alone(FILES)
    assert killed
    assert outcome.recovered
    assert children() == set()


def test_an_agent_that_hangs_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Callable[[], set[psutil.Process]]
) -> None:
    monkeypatch.setattr(orchestration, "TASK_TIMEOUT_S", 2.0)
    run = prepared(tmp_path)
    stopped: list[int] = []

    def stop_all() -> None:
        if not stopped:
            stopped.extend(agent.process.pid for agent in run._crew.pool.agents.values())
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

    run._refresh = stop_all
    assert run.run().totals == symbols.count_alone(FILES)
    assert children() == set()


def test_a_batch_that_kills_its_agents_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Callable[[], set[psutil.Process]]
) -> None:
    monkeypatch.setattr(session, "TASK_ATTEMPTS", 1)
    with pytest.raises(OrchwatchError, match=r"batch-\d+ failed 1 times, its agents died"):
        prepared(tmp_path).run()
    assert children() == set()


def test_a_batch_that_a_hook_refuses_ends_the_run(
    tmp_path: Path, children: Callable[[], set[psutil.Process]]
) -> None:
    with pytest.raises(OrchwatchError, match="a hook refused batch-001: '/etc/passwd' lies"):
        prepared(tmp_path, files=["/etc/passwd"]).run()
    assert children() == set()


def test_a_hook_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BATCH_POLICY", hooks.Hook(command=("false",)))
    assert prepared(tmp_path, files=FILES[:20]).run().totals.files == 20


def test_an_interrupt_leaves_no_process_behind(
    tmp_path: Path, children: Callable[[], set[psutil.Process]]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, refresh=interrupt).run()
    assert children() == set()
