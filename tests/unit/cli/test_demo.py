from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from orchwatch.analysis import storage
from orchwatch.cli.commands.demo import DEFAULT_FILES
from orchwatch.cli.main import main
from orchwatch.demo import symbols
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 60.0
FILES = 220


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("ORCHWATCH_HOME", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """A demo that does not end by itself, with its agents at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", "demo", "--loop", "--agents", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def is_agent(process: psutil.Process) -> bool:
    try:
        return "orchwatch.demo.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # a hook's, gone by now
        return False


def agents_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        agents = [child for child in psutil.Process(process.pid).children() if is_agent(child)]
        if len(agents) == 2:
            return agents
        time.sleep(0.01)
    raise AssertionError("the demo started no agents")


def test_the_demo_ends_with_every_operation_of_the_table_measured(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["demo", "--files", str(FILES), "--agents", "2"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"agent-\d \(pid \d+\) killed in the middle of batch-\d+", output)
    assert re.search(r"agent-\d replaced by pid \d+; handed out again: batch-\d+", output)
    assert "one process alone counts the same" in output
    for name in target_table.load().operations:
        (row,) = re.findall(rf"^{re.escape(name)} +(\d+) +(\d+) ", output, re.MULTILINE)
        # Where the agent was killed in the middle of something, that has failed.
        assert int(row[0]) > 0
        assert int(row[1]) <= 1
    (trace,) = re.findall(r"orchwatch trace ([0-9a-f]{32})$", output, re.MULTILINE)
    assert re.search(r"\(your shell finds orchwatch after: \. .*activate\)\n$", output)
    spool = "".join(path.read_text() for path in home.glob("spool/operations-*.jsonl"))
    assert set(re.findall(r'"traceId": ?"([0-9a-f]+)"', spool)) == {trace}
    # Five runs in a day, each with its default, are within the product's own target for storage.
    stored = storage.size_bytes(home) or 0
    limit = target_table.load().levels["storage.growth"].target
    assert 0 < 5 * stored * DEFAULT_FILES / FILES < limit


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--agents", "0"], "--agents must be from 1 to 64, not 0"),
        (["--files", "-1"], "--files must be at least 1, not -1"),
        (["--files", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_number_out_of_range_is_a_usage_error(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_wrong_results_are_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = symbols.count_alone
    monkeypatch.setattr(symbols, "count_alone", lambda files: right(files[:-1]))
    assert main(["demo", "--files", "12", "--agents", "1"]) == 1
    assert "the agents found Totals(files=12" in capsys.readouterr().err


def test_a_home_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file"))
    assert main(["demo", "--files", "12"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_ends_in_order_on_a_signal(
    demo: subprocess.Popen[str], ending: signal.Signals
) -> None:
    agents = agents_of(demo)
    demo.send_signal(ending)
    output, errors = demo.communicate(timeout=TIMEOUT_S)
    assert (demo.returncode, errors) == (0, "")
    assert "ended in round 1" in output
    assert not any(agent.is_running() for agent in agents)


def test_a_killed_demo_leaves_no_agent_behind(demo: subprocess.Popen[str]) -> None:
    agents = agents_of(demo)
    os.kill(demo.pid, signal.SIGKILL)
    demo.communicate(timeout=TIMEOUT_S)
    gone, alive = psutil.wait_procs(agents, timeout=TIMEOUT_S)
    assert (len(gone), alive) == (2, [])


def test_a_broken_table_ends_it_before_anything_starts(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orchwatch.toml").write_text('[operations."state.query"]\ntarget_s = -1\n')
    assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "must be above 0, not -1" in captured.err
    assert not home.exists()
