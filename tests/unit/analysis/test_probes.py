from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import psutil
import pytest

from orchwatch.analysis import probes
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
HOLD = "held = bytearray(40 * 1024 * 1024); print(flush=True); input()"
SPANS = """
from orchwatch import operation
with operation("agent.task", {"session.id": "recorded"}):
    pass
held = bytearray(40 * 1024 * 1024)
print(flush=True)
input()
"""
# What Claude Code is to its session: it has no variable itself and gives one to its children.
MAIN = """
import os, subprocess, sys
held = bytearray(40 * 1024 * 1024)
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], env={**os.environ, "CLAUDE_CODE_SESSION_ID": sys.argv[2]}
)
child.wait()
"""


@pytest.fixture
def started(home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    assert home
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def session_id() -> str:
    """One that no other test's process has: those of the whole machine are looked at."""
    return uuid.uuid4().hex


def start(
    started: list[subprocess.Popen[bytes]], *words: str, **environ: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    started.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_session_is_identified_by_its_processes_environment(
    started: list[subprocess.Popen[bytes]], session_id: str
) -> None:
    other = f"{session_id}-other"
    process = start(started, "-c", HOLD, CLAUDE_CODE_SESSION_ID=session_id)
    start(started, "-c", HOLD, CLAUDE_CODE_SESSION_ID=other)
    found = probes.Sessions().memory_bytes({})
    rss = psutil.Process(process.pid).memory_info().rss
    assert found[session_id] == pytest.approx(rss, abs=8 * MIB)
    assert other in found


def test_the_process_that_gave_out_the_session_belongs_to_it(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, session_id: str
) -> None:
    (tmp_path / "claude").write_text(MAIN)
    start(started, str(tmp_path / "claude"), HOLD, session_id)
    assert probes.Sessions().memory_bytes({})[session_id] > 80 * MIB


def test_a_process_that_is_not_claude_does_not_join_by_starting_one(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, session_id: str
) -> None:
    (tmp_path / "service").write_text(MAIN)
    start(started, str(tmp_path / "service"), HOLD, session_id)
    assert 40 * MIB < probes.Sessions().memory_bytes({})[session_id] < 80 * MIB


def test_who_recorded_a_sessions_spans_belongs_to_it_while_it_runs(
    started: list[subprocess.Popen[bytes]], home: Path
) -> None:
    process = start(started, "-c", SPANS)
    with Store(home) as store:
        known = probes.recorders(store, since_ns=0)
    assert [found.pid for found in known["recorded"]] == [process.pid]
    sessions = probes.Sessions()
    assert sessions.memory_bytes(known)["recorded"] > 40 * MIB
    process.communicate(b"\n", timeout=60)
    started.clear()
    assert sessions.memory_bytes({}).get("recorded") is None


def test_the_monitor_is_no_part_of_the_sessions_that_it_follows(
    started: list[subprocess.Popen[bytes]], home: Path
) -> None:
    start(started, "-c", SPANS, ORCHWATCH_SERVICE_NAME="claude-code")
    with Store(home) as store:
        assert probes.recorders(store, since_ns=0) == {}
