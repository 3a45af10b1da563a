"""Whoever is killed at whatever moment, a session comes back as it was acknowledged.

ORCHWATCH_TEST_KILLS sets how often processes of one session are killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import processes, recovery
from orchwatch.runtime.session_paths import archived
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError
from orchwatch.runtime.tasks import NewTask, TaskGraph
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("ORCHWATCH_TEST_KILLS", "8"))
LIMIT_S = 120
MANY = 100_000
# Processes are found by the session that they carry, on the whole machine.
SESSION = f"s-{uuid.uuid4()}"

# Does tasks and says which, once each is acknowledged; writes files that a kill can leave behind.
AGENT = """
import os, sys
from orchwatch.runtime.agents import say_ready
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
with SessionStateManager(sys.argv[1], "SESSION") as state:
    graph = TaskGraph(state, max_attempts=1000)
    say_ready()
    while (claim := graph.claim(timeout_s=60)) is not None:
        with graph.finishing(claim) as writer:
            writer.increment(("done", claim.id))
        os.write(acknowledged, f"{claim.id}\\n".encode())
        state.export()
        if claim.number % 7 == 0:
            state.checkpoint()
"""
SUPERVISOR = """
import json, sys
from orchwatch.runtime.agents import AgentPool, Limits
with AgentPool("SESSION", Limits(ready_s=100.0)) as pool:
    command = [sys.executable, "-c", *sys.argv[1:]]
    pids = [pool.spawn(f"a{n}", command).process.pid for n in range(3)]
    print(json.dumps([pool._guard.pid, *pids]), flush=True)
    while True:
        pool.receive(60.0)
"""
# Does nothing, and does not end when it is asked to.
WAITING = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from orchwatch.runtime.agents import say_ready
say_ready()
while True: signal.pause()
"""
RECOVERING = """
import json, sys
from orchwatch.runtime import recovery
from orchwatch.runtime.session_state import SessionStateManager
with SessionStateManager(sys.argv[1], "SESSION") as state:
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(recovery.run(state).requeued))
"""
CLAIMING = """
import sys
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph
with SessionStateManager(sys.argv[1], "SESSION") as state:
    graph = TaskGraph(state)
    while graph.claim() is not None: pass
    print("claimed", flush=True)
    sys.stdin.read()
"""


def started(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", *(str(word).replace("SESSION", SESSION) for word in (code, *words))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def claim_and_be_killed(root: Path) -> None:
    process = started(CLAIMING, root)
    assert line_of(process) == "claimed\n"
    process.kill()
    process.communicate()


def kill(supervisor: subprocess.Popen[str]) -> None:
    """Without waiting for the end of its output, which its agents have open, too."""
    supervisor.kill()
    supervisor.wait(LIMIT_S)
    for pipe in (supervisor.stdin, supervisor.stdout):
        assert pipe is not None
        pipe.close()


def of_session() -> list[int]:
    return processes.marked(lambda mark: mark.startswith(f"{SESSION} "))


def test_nothing_acknowledged_is_lost_or_done_twice_whichever_process_is_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random()
    root, file = tmp_path / "workspace", tmp_path / "acknowledged"
    with SessionStateManager(root, SESSION) as state:
        TaskGraph(state).add_all([NewTask(f"t{number}") for number in range(MANY)])
    for trial in range(KILLS):
        supervisor = started(SUPERVISOR, AGENT, root, file)
        pids = [supervisor.pid, *json.loads(line_of(supervisor))]
        wanted = len(read(file)) + 20
        deadline = time.monotonic() + LIMIT_S
        while len(read(file)) < wanted:
            assert time.monotonic() < deadline
        time.sleep(chance.random() / 20)
        # Some of them first, in any order, then the supervisor, which nobody replaces.
        for pid in chance.sample(pids, trial % (len(pids) + 1)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(chance.choice((0, 0, 0.01)))
        kill(supervisor)
        with SessionStateManager(root, SESSION) as state:
            found = recovery.run(state, max_attempts=1000)
            assert of_session() == []
            assert list(state.path.parent.rglob("*.tmp")) == []
            graph = TaskGraph(state)
            counts = graph.counts()
            assert "claimed" not in counts
            assert len(found.requeued) <= 3
            done = state.get("done")
            acknowledged = read(file)
            assert len(acknowledged) == len(set(acknowledged))
            assert set(acknowledged) <= done.keys()
            assert set(done.values()) == {1}
            assert counts["completed"] == len(done)
            # At most the one that each agent was about to acknowledge.
            assert len(done) - len(acknowledged) <= 3 * (trial + 1) * 4


def read(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def test_what_recovery_found_is_reported(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, SESSION) as state:
        graph = TaskGraph(state, max_attempts=2)
        graph.add_all([NewTask("a"), NewTask("b")])
        claim_and_be_killed(tmp_path)
        gone = subprocess.Popen(["true"])
        gone.wait()
        half = state.path.parent / f"{state.view.name}.{gone.pid}.tmp"
        half.write_text("{")
        archive = archived(state.path)
        archive.parent.mkdir(exist_ok=True)
        more = [path.with_name(f"{path.name}.{gone.pid}.tmp") for path in (state.path, archive)]
        for path in more:
            path.write_text("{")
        mine = state.path.parent / f"{state.view.name}.{os.getpid()}.tmp"
        mine.write_text("{")
        with capture() as captured:
            found = recovery.run(state, max_attempts=2)
        assert (found.ended, found.requeued, found.failed, found.removed) == (
            0,
            ("a", "b"),
            (),
            3,
        )
        assert list(found.steps_s) == ["processes", "state", "tasks", "files"]
        assert not half.exists()
        assert not any(path.exists() for path in more)
        assert mine.exists()
        (run,) = [each for each in captured.operations if each.name == "recovery.run"]
        assert run.attributes["orchestration.recovery.found.requeued"] == 2
        assert run.attributes["orchestration.recovery.found.failed"] == 0
        assert run.attributes["orchestration.recovery.step.tasks"] == found.steps_s["tasks"]
        counted = {
            metric.attributes["orchestration.recovery.kind"]: metric.value
            for metric in captured.counters
        }
        assert counted == {"requeued": 2, "removed": 3}
        claim_and_be_killed(tmp_path)
        found = recovery.run(state, max_attempts=2)
        assert (found.requeued, found.failed) == ((), ("a", "b"))


def test_recovery_changes_nothing_where_no_process_is_gone(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, SESSION) as state:
        graph = TaskGraph(state)
        graph.add("a")
        claim = graph.claim()
        assert claim is not None
        found = recovery.run(state)
        assert (found.ended, found.requeued, found.failed, found.removed) == (0, (), (), 0)
        graph.finish(claim)


def test_each_claim_is_requeued_once_however_many_recover_at_once(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, SESSION) as state:
        names = [f"t{number}" for number in range(50)]
        graph = TaskGraph(state)
        graph.add_all([NewTask(name) for name in names])
        claim_and_be_killed(tmp_path)
        recovering = [started(RECOVERING, tmp_path) for _ in range(4)]
        assert [line_of(process) for process in recovering] == ["ready\n"] * 4
        for process in recovering:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        requeued = [name for process in recovering for name in json.loads(line_of(process))]
        for process in recovering:
            process.communicate()
        assert sorted(requeued) == sorted(names)
        assert {task.attempts for task in graph.tasks()} == {1}


def test_agents_of_a_living_supervisor_are_left_alone(tmp_path: Path) -> None:
    supervisor = started(SUPERVISOR, WAITING)
    _guard, *agents = json.loads(line_of(supervisor))
    with SessionStateManager(tmp_path, SESSION) as state:
        assert recovery.run(state).ended == 0
        assert sorted(of_session()) == sorted(agents)
        kill(supervisor)
        recovery.run(state)
        assert of_session() == []


def test_orphans_that_ignore_sigterm_are_ended_where_the_guard_was_killed_too(
    tmp_path: Path,
) -> None:
    supervisor = started(SUPERVISOR, WAITING)
    guard, *agents = json.loads(line_of(supervisor))
    os.kill(guard, signal.SIGKILL)
    kill(supervisor)
    assert sorted(of_session()) == sorted(agents)
    with SessionStateManager(tmp_path, SESSION) as state:
        assert recovery.run(state, grace_s=0.1).ended == 3
    assert of_session() == []


def test_a_damaged_session_is_one_clear_error_and_counted(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, SESSION) as state:
        state.set("a", {"b": 1})
        with state.database.writing() as connection:
            connection.execute("UPDATE nodes SET value = '{' WHERE value = '1'")
        with capture() as captured, pytest.raises(StateError, match="damaged"):
            recovery.run(state)
        assert [metric.name for metric in captured.counters] == [
            "orchestration.state.consistency.violations"
        ]
        (run,) = [each for each in captured.operations if each.name == "recovery.run"]
        assert run.error_type == "orchwatch.runtime.state.StateError"


def test_the_name_of_a_half_written_file_is_known(tmp_path: Path) -> None:
    """Made by the real writer, killed before it has put the file in place."""
    code = (
        "import os, sys\n"
        "from orchwatch.recording import files\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "files.replace(sys.argv[1], b'{}')"
    )
    with SessionStateManager(tmp_path, SESSION) as state:
        subprocess.run([sys.executable, "-c", code, str(state.view)], check=False)
        assert len(list(state.path.parent.glob("*.tmp"))) == 1
        assert recovery.run(state).removed == 1
        assert list(state.path.parent.glob("*.tmp")) == []
