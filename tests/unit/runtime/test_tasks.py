from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError
from orchwatch.runtime.tasks import ClaimLostError, CycleError, NewTask, TaskError, TaskGraph
from orchwatch.testing import capture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 120
WORKER = """
import sys
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph
with SessionStateManager(sys.argv[1], "s1") as state:
    graph = TaskGraph(state)
    while (claim := graph.claim(timeout_s=60)) is not None:
        with graph.finishing(claim, {"by": sys.argv[2]}) as writer:
            writer.increment(("done", claim.id))
        print(claim.id, flush=True)
"""
CLAIMING = """
import sys, time
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph
with SessionStateManager(sys.argv[1], "s1") as state:
    claim = TaskGraph(state).claim()
    print(claim.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SessionStateManager]:
    with SessionStateManager(tmp_path, "s1") as opened:
        yield opened


@pytest.fixture
def graph(state: SessionStateManager) -> TaskGraph:
    return TaskGraph(state)


def claimed_by_another(root: Path) -> subprocess.Popen[str]:
    """A process that holds the claim of one task."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMING, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def worked_off(graph: TaskGraph) -> list[str]:
    order = []
    while (claim := graph.claim()) is not None:
        order.append(claim.id)
        graph.finish(claim)
    return order


def test_a_task_is_ready_once_all_that_it_needs_are_completed(graph: TaskGraph) -> None:
    graph.add("a")
    graph.add("b", needs=["a"])
    graph.add("c", needs=["a", "b", "a"])
    assert [task.status for task in graph.tasks()] == ["ready", "waiting", "waiting"]
    assert graph.get("c").needs == ("a", "b")
    assert worked_off(graph) == ["a", "b", "c"]
    assert graph.counts() == {"completed": 3}
    assert not graph.unfinished
    graph.add("d", needs=["a", "c"])
    assert graph.get("d").status == "ready"


def test_the_highest_priority_goes_first_and_the_oldest_of_these(graph: TaskGraph) -> None:
    graph.add_all(
        [
            NewTask("later", priority=-1),
            NewTask("first", priority=5),
            NewTask("plain"),
            NewTask("second", priority=5),
            NewTask("urgent", needs=("plain",), priority=9),
        ]
    )
    assert worked_off(graph) == ["first", "second", "plain", "urgent", "later"]


def test_what_a_claim_carries_and_what_it_leaves(graph: TaskGraph) -> None:
    graph.add("a", data={"files": ["x.py"]})
    claim = graph.claim("agent-1")
    assert claim is not None
    assert (claim.id, claim.data, claim.attempt, claim.agent) == (
        "a",
        {"files": ["x.py"]},
        1,
        "agent-1",
    )
    assert graph.claim() is None
    graph.finish(claim, [1, None])
    task = graph.get("a")
    assert (task.status, task.result, task.agent, task.attempts) == (
        "completed",
        [1, None],
        "agent-1",
        1,
    )


@pytest.mark.parametrize("size", [2, 3, 50, 20_000])
def test_a_cycle_is_refused_and_named(graph: TaskGraph, size: int) -> None:
    graph.add("before")
    ring = [NewTask(f"t{n}", needs=(f"t{(n + 1) % size}",)) for n in range(size)]
    with pytest.raises(CycleError) as raised:
        graph.add_all([NewTask("free"), *ring])
    cycle = raised.value.cycle
    assert (cycle[0], len(cycle)) == (cycle[-1], size + 1)
    needs = {task.id: task.needs for task in ring}
    assert all(after in needs[before] for before, after in pairwise(cycle))
    assert f"{cycle[0]!r} needs {cycle[1]!r}" in str(raised.value)
    assert len(str(raised.value)) < 500
    assert [task.id for task in graph.tasks()] == ["before"]


def test_a_task_that_needs_itself_is_a_cycle(graph: TaskGraph) -> None:
    with pytest.raises(CycleError, match="'a' needs 'a'"):
        graph.add("a", needs=["a"])


def test_a_need_that_would_close_a_cycle_later_is_refused_and_named(graph: TaskGraph) -> None:
    graph.add("a")
    graph.add("b", needs=["a"])
    graph.add("c", needs=["b"])
    with pytest.raises(CycleError, match="'a' needs 'c' needs 'b' needs 'a'"):
        graph.depend("a", ["c"])
    assert worked_off(graph) == ["a", "b", "c"]


def test_a_need_can_be_added_to_an_unclaimed_task(graph: TaskGraph) -> None:
    for name in ("a", "b", "done"):
        graph.add(name)
    claim = graph.claim()
    assert claim is not None
    graph.add("late", priority=1)
    graph.depend("b", ["late", "late"])
    graph.depend("b", ["late"])
    assert graph.get("b").status == "waiting"
    with pytest.raises(TaskError, match="'a' is claimed, and can need no more"):
        graph.depend("a", ["late"])
    graph.finish(claim)
    graph.depend("b", ["a"])
    assert worked_off(graph) == ["late", "b", "done"]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (NewTask(""), "'' is no task's id"),
        (NewTask("x" * 300), "is no task's id: it must be a str of 1 to 200"),
        (NewTask(7), "7 is no task's id"),  # type: ignore[arg-type]
        (NewTask("\ud800"), "half of a surrogate pair"),
        (NewTask("a", priority=1 << 63), "task 'a': priority must be an int"),
        (NewTask("a", priority=True), "task 'a': priority must be an int"),
        (NewTask("a", needs=("b",)), "task 'b', which 'a' needs, is not there"),
        (NewTask("a", data=float("nan")), "task 'a': its data is not JSON"),
        (NewTask("a", data={1, 2}), "task 'a': its data is not JSON"),
        (NewTask("there"), "task 'there' is there already"),
    ],
)
def test_what_can_be_no_task_is_one_clear_line(
    graph: TaskGraph, task: NewTask, reason: str
) -> None:
    graph.add("there")
    with pytest.raises(TaskError, match=reason) as raised:
        graph.add_all([NewTask("good"), task])
    assert "\n" not in str(raised.value)
    assert [each.id for each in graph.tasks()] == ["there"]


def test_one_id_twice_in_a_batch_is_refused(graph: TaskGraph) -> None:
    with pytest.raises(TaskError, match="'a' is there already"):
        graph.add_all([NewTask("a"), NewTask("a")])


def test_what_fails_is_tried_again_and_then_skips_what_needs_it(state: SessionStateManager) -> None:
    graph = TaskGraph(state, max_attempts=2)
    graph.add_all([NewTask("a"), NewTask("b", needs=("a",)), NewTask("c", needs=("b",))])
    graph.add("free")
    for attempt, status in ((1, "ready"), (2, "failed")):
        claim = graph.claim()
        assert claim is not None
        assert (claim.id, claim.attempt) == ("a", attempt)
        assert graph.fail(claim, "no network") == status
    assert [task.status for task in graph.tasks()] == ["failed", "skipped", "skipped", "ready"]
    assert graph.get("a").reason == "no network (attempt 2)"
    assert graph.get("b").reason == "'a', which it needs, has failed"
    assert graph.get("c").reason == "'b', which it needs, was skipped"
    graph.add("late", needs=["c"])
    assert graph.get("late").status == "skipped"
    assert worked_off(graph) == ["free"]
    assert not graph.unfinished


def test_a_task_is_finished_once(graph: TaskGraph, state: SessionStateManager) -> None:
    graph.add("a")
    claim = graph.claim()
    assert claim is not None
    graph.finish(claim)
    with pytest.raises(ClaimLostError, match="'a' is no longer claimed by attempt 1"):
        graph.finish(claim)
    with (
        pytest.raises(ClaimLostError),
        graph.finishing(claim) as writer,
    ):
        writer.set("twice", value=True)
    with pytest.raises(ClaimLostError):
        graph.fail(claim, "late")
    assert state.get("twice") is None


def test_a_claim_that_was_taken_back_cannot_finish_the_task(graph: TaskGraph) -> None:
    graph.add("a")
    graph.add("b")
    first, second = graph.claim("agent-1"), graph.claim("agent-2")
    assert first is not None
    assert second is not None
    assert graph.release("agent-1") == ["a"]
    with pytest.raises(ClaimLostError):
        graph.finish(first)
    again = graph.claim("agent-3")
    assert again is not None
    assert (again.id, again.attempt) == ("a", 2)
    graph.finish(again)
    graph.finish(second)


def test_a_result_that_is_no_json_leaves_the_task_claimed(
    graph: TaskGraph, state: SessionStateManager
) -> None:
    graph.add("a")
    claim = graph.claim()
    assert claim is not None
    with pytest.raises(TaskError, match="its result is not JSON"):
        graph.finish(claim, {1, 2})

    def finish_half() -> None:
        with graph.finishing(claim) as writer:
            writer.set("half", 1)
            writer.set("half.of", 2)

    with pytest.raises(StateError, match="is no object"):
        finish_half()
    assert state.get("half") is None
    graph.finish(claim)


def test_what_a_gone_process_had_claimed_is_requeued_once(graph: TaskGraph, tmp_path: Path) -> None:
    graph.add_all([NewTask("a"), NewTask("b")])
    process = claimed_by_another(tmp_path)
    mine = graph.claim()
    assert mine is not None
    assert graph.requeue_lost() == []
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # It is a zombie now: gone, though its pid is still taken.
    assert graph.requeue_lost() == ["a"]
    assert graph.requeue_lost() == []
    process.communicate()
    assert graph.get("a").reason == "the process that had claimed it is gone"
    assert graph.get("b").status == "claimed"


def test_a_stopped_process_keeps_its_claim(graph: TaskGraph, tmp_path: Path) -> None:
    graph.add("a")
    process = claimed_by_another(tmp_path)
    process.send_signal(signal.SIGSTOP)
    assert graph.requeue_lost() == []
    process.kill()
    process.communicate()
    assert graph.requeue_lost() == ["a"]


def test_a_task_whose_processes_die_every_time_fails(
    state: SessionStateManager, tmp_path: Path
) -> None:
    graph = TaskGraph(state, max_attempts=2)
    graph.add("a")
    for status in ("ready", "failed"):
        process = claimed_by_another(tmp_path)
        process.kill()
        process.communicate()
        graph.requeue_lost()
        assert graph.get("a").status == status


def test_many_processes_do_each_task_once_and_in_order(graph: TaskGraph, tmp_path: Path) -> None:
    chance = random.Random(7)
    names = [f"t{number}" for number in range(120)]
    tasks = [
        NewTask(name, needs=tuple(chance.sample(names[:number], min(number, 3))))
        for number, name in enumerate(names)
    ]
    graph.add_all(tasks)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(number)])
        for number in range(4)
    ]
    assert [worker.wait(LIMIT_S) for worker in workers] == [0] * 4
    assert graph.counts() == {"completed": len(names)}
    with SessionStateManager(tmp_path, "s1") as state:
        assert state.get("done") == dict.fromkeys(names, 1)


def test_a_waiting_worker_gets_a_task_as_it_becomes_ready(graph: TaskGraph, tmp_path: Path) -> None:
    graph.add_all([NewTask("a"), NewTask("b", needs=("a",))])
    claim = graph.claim()
    assert claim is not None
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), "w"], stdout=subprocess.PIPE, text=True
    )
    graph.finish(claim)
    assert worker.communicate(timeout=LIMIT_S)[0] == "b\n"


def test_a_worker_does_not_wait_where_all_is_over(graph: TaskGraph) -> None:
    started_s = time.monotonic()
    assert graph.claim(timeout_s=LIMIT_S) is None
    assert time.monotonic() - started_s < LIMIT_S


def test_each_resolution_is_an_operation_and_says_how_many_became_ready(
    state: SessionStateManager,
) -> None:
    with capture() as captured:
        graph = TaskGraph(state)
        graph.add_all(
            [NewTask("a"), *(NewTask(f"b{n}", needs=("a",)) for n in range(5)), NewTask("c")]
        )
        claim = graph.claim()
        assert claim is not None
        graph.finish(claim)
    resolved = [each for each in captured.operations if each.name == "dependency.resolve"]
    assert [each.attributes["orchestration.result.count"] for each in resolved] == [2, 5]
    assert all(each.attributes["session.id"] == "s1" for each in resolved)
    assert [metric.name for metric in captured.counters] == ["orchestration.task.completed"]


def test_a_finished_task_touches_what_needs_it_and_nothing_else(
    state: SessionStateManager,
) -> None:
    """Counted in rows that SQLite changes, so that no clock is asked."""
    changed: dict[int, int] = {}
    graph = TaskGraph(state)
    for size in (10, 5_000):
        graph.add_all(
            [
                NewTask(f"{size}-a", priority=size),
                *(NewTask(f"{size}-b{n}", needs=(f"{size}-a",)) for n in range(3)),
                *(NewTask(f"{size}-c{n}", needs=(f"{size}-b0",)) for n in range(size)),
            ]
        )
        claim = graph.claim()
        assert claim is not None
        assert claim.id == f"{size}-a"
        with state.database.reading() as connection:
            before = connection.total_changes
        graph.finish(claim)
        with state.database.reading() as connection:
            changed[size] = connection.total_changes - before
    assert changed == {10: 4, 5_000: 4}


@pytest.mark.parametrize("seed", range(4))
def test_every_order_is_one_that_a_person_could_follow(
    state: SessionStateManager, seed: int
) -> None:
    """Random graphs, needs added late, failures: nothing is done before what it needs."""
    chance = random.Random(seed)
    graph = TaskGraph(state, max_attempts=100)
    names = [f"t{n}" for n in range(60)]
    needs: dict[str, set[str]] = {}
    for number, name in enumerate(names):
        needs[name] = set(chance.sample(names[:number], min(number, chance.randrange(4))))
    batch = [NewTask(name, tuple(needs[name]), chance.randrange(3)) for name in names]
    chance.shuffle(batch)
    graph.add_all(batch)
    done: list[str] = []
    while (claim := graph.claim()) is not None:
        if chance.random() < 0.2:
            graph.fail(claim, "bad luck")
            continue
        task, other = chance.choice(names), chance.choice(names)
        with suppress(TaskError):  # over, claimed, or a cycle: nothing changed
            graph.depend(task, [other])
            needs[task].add(other)
        assert needs[claim.id] <= set(done)
        graph.finish(claim)
        done.append(claim.id)
    assert sorted(done) == sorted(names)


def test_tasks_are_there_when_the_session_is_opened_again(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, "s1") as state:
        TaskGraph(state).add_all([NewTask("a", data={"n": 1}), NewTask("b", needs=("a",))])
    code = (
        "import sys, json\n"
        "from orchwatch.runtime.session_state import SessionStateManager\n"
        "from orchwatch.runtime.tasks import TaskGraph\n"
        "with SessionStateManager(sys.argv[1], 's1') as state:\n"
        "    print(json.dumps([(t.id, t.status, t.needs) for t in TaskGraph(state).tasks()]))"
    )
    out = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
    found: list[Any] = json.loads(out)
    assert found == [["a", "ready", []], ["b", "waiting", ["a"]]]
