"""`orchwatch bench`: real processes, real writes, and nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from orchwatch.bench import load
from orchwatch.bench.case import COMPONENTS
from orchwatch.bench.workers import Workers
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BENCH = [sys.executable, "-m", "orchwatch.cli", "bench"]
KEYS = [
    *("operation", "component", "iterations", "mean_ms", "median_ms", "stddev_ms", "min_ms"),
    *("max_ms", "p95_ms", "p99_ms", "success_rate", "target_ms", "status"),
]
# Of a run that was kept.
KEPT = {"runs.jsonl", "runs.lock"}
# However slow the machine is at the moment: a target that is missed is another test's matter.
FINE = (0, 3)


@pytest.fixture(autouse=True)
def _here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home  # of this test alone
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def left(home: Path) -> Iterator[None]:
    """Nothing of a benchmark is there afterwards: no process, no file, no operation."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert {path.name for path in (home / "benchmarks").glob("*")} <= KEPT
    assert not list((home / "spool").glob("*"))


def asked(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["bench", *words, "--format", "json"]) in FINE
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_is_measured_with_no_failure(
    component: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "--component", component, "--iterations", "2", "--warmup", "1")
    document = asked(*words, capsys=capsys)
    assert list(document) == ["schema_version", "results", "machine", "version", "commit", "at"]
    for result in document["results"]:
        assert list(result) == KEYS
        assert (result["component"], result["iterations"]) == (component, 2)
        assert result["success_rate"] == 1.0
        assert 0 < result["min_ms"] <= result["median_ms"] <= result["max_ms"]
        assert result["target_ms"] is None or result["status"] in ("ok", "warn", "miss")
    assert any(result["target_ms"] for result in document["results"])


@pytest.mark.usefixtures("left")
def test_a_command_is_measured_and_its_failures_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    # Every other time; it says why, and leaves a process that the iteration must not outlive.
    script = tmp_path / "now and then"
    script.write_text(
        "#!/bin/sh\nsleep 1000 &\n"
        f"test -e {tmp_path}/odd || {{ touch {tmp_path}/odd; exit 0; }}\n"
        f"rm {tmp_path}/odd; echo 'first line' >&2; echo 'no \x1b[31mluck' >&2; exit 7\n"
    )
    script.chmod(0o755)
    words = ("--iterations", "4", "--warmup", "0", "--operation", "job", "--", str(script))
    assert main(["bench", "run", *words]) == 3
    out, err = capsys.readouterr()
    assert "job failed 2x: exit status 7: no \\x1b[31mluck" in out
    assert err == "orchwatch: bench: job failed 2 of 4 times\n"
    (record,) = map(json.loads, (home / "benchmarks/runs.jsonl").read_text().splitlines())
    (result,) = record["results"]
    assert (result["iterations"], result["success_rate"]) == (4, 0.5)
    assert len(result["samples_ms"]) == len(result["loops_ms"]) == 2
    assert sum(result["errors"].values()) == 2


@pytest.mark.usefixtures("left")
def test_a_command_that_a_signal_without_a_name_ended_has_failed_by_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (
        "--iterations",
        "1",
        "--warmup",
        "0",
        "--operation",
        "job",
        "--",
        "sh",
        "-c",
        "kill -40 $$",
    )
    assert main(["bench", "run", *words]) == 3
    assert "job failed 1x: signal 40" in capsys.readouterr().out


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("good", None),
        ("soon", None),
        ("bad", "ValueError: no such luck"),
        ("leaves", "SystemExit: 3"),
        ("quiet", "KeyError"),
        ("Some.method", None),
    ],
)
def test_a_callable_is_measured_and_what_it_raises_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], function: str, said: str | None
) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "from orchwatch import operation\n"
        "def good():\n    print('to stdout')\n    with operation('mine'):\n        pass\n"
        "async def soon():\n    return 1\n"
        "def bad():\n    raise ValueError('no such\\nluck')\n"
        "def leaves():\n    sys.exit(3)\n"
        "def quiet():\n    raise KeyError\n"
        "class Some:\n    @staticmethod\n    def method():\n        pass\n"
    )
    words = ("run", "--iterations", "3", "--callable", f"mine:{function}", "--format", "json")
    assert main(["bench", *words]) == (3 if said else 0)
    out, err = capsys.readouterr()
    (result,) = json.loads(out)["results"]
    assert (result["operation"], result["component"]) == (f"mine:{function}", "callable")
    assert result["success_rate"] == (0 if said else 1)
    if said:
        assert f"failed 3x: {said}" in err


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--callable", "nosuchmodule:f"], 1, "bench: nosuchmodule:f: nosuchmodule cannot be"),
        (["--callable", "os:nosuch"], 1, "os has no callable nosuch"),
        (["--callable", "os:sep"], 1, "os has no callable sep"),
        (["--callable", "os"], 2, "must be spelt MODULE:FUNCTION, not 'os'"),
        (["--callable", "os:_exit"], 3, "failed"),
        (["--callable", "os:abort"], 1, "bench: os:abort: its process ended early"),
        (["--callable", "os:getpid", "--", "true"], 2, "not both"),
        (["--component", "state", "--", "true"], 2, "does not go with"),
        (["--operation", "x"], 2, "there is none"),
        (["--operation", "x" * 257, "--", "true"], 2, "1 to 256 characters"),
        (["--", "no-such-command"], 2, "no such command"),
        (["--"], 2, "no COMMAND stands behind --"),
        (["--component", "stat"], 2, "did you mean state"),
        (["--component", "x"], 2, "known are session"),
        (["--iterations", "0"], 2, "whole number from 1"),
        (["--iterations", "1.5"], 2, "whole number from 1"),
        (["--iterations", "9" * 5000], 2, "whole number from 1"),
        (["--warmup", "-1"], 2, "whole number from 0"),
    ],
)
def test_what_cannot_be_benchmarked_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "run", "--iterations", "2", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("action", ["load", "stress"])
@pytest.mark.parametrize(
    "words", [["--concurrent", "0"], ["--rate", "-1"], ["--rate", "nan"], ["--duration", "inf"]]
)
def test_a_load_that_is_none_is_one_line(
    action: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", action, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must be a" in line
    assert "e+" not in line


@pytest.mark.usefixtures("left")
def test_many_processes_at_once_lose_no_write(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--concurrent", "4", "--duration", "2", "--rate", "0", "--component", "event")
    document = asked("load", *words, "--component", "session", capsys=capsys)
    by_operation = {result["operation"]: result for result in document["results"]}
    assert set(by_operation) == {"session.init", "event.process", "state.increment"}
    assert document["concurrent"] == 4
    assert document["lost_writes"] == 0
    assert document["acknowledged_writes"] == by_operation["state.increment"]["iterations"] > 4
    assert all(result["success_rate"] == 1 for result in document["results"])


@pytest.mark.usefixtures("left")
def test_more_processes_than_start_at_once_all_begin_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--concurrent", "12", "--duration", "2", "--rate", "12", "--component", "event")
    document = asked("load", *words, "--component", "session", capsys=capsys)
    by_operation = {result["operation"]: result for result in document["results"]}
    # As many of each as of the other, though no process gets to more than two.
    assert set(by_operation) == {"event.process", "session.init", "state.increment"}
    assert by_operation["state.increment"]["iterations"] <= 24
    assert document["lost_writes"] == 0
    assert document["start_s"] > 0
    assert all(result["success_rate"] == 1 for result in document["results"])


@pytest.mark.usefixtures("left")
def test_no_process_closes_what_it_has_open_while_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    messages = Workers.messages

    def noted(workers: Workers, wake_s: float | None = None) -> Iterator[tuple[int, Any]]:
        for number, message in messages(workers, wake_s):
            said.extend(message.keys() & {"measured", "done"})
            yield number, message

    monkeypatch.setattr(Workers, "messages", noted)
    words = ("--concurrent", "4", "--duration", "2", "--rate", "4", "--component", "session")
    assert asked("load", *words, capsys=capsys)["lost_writes"] == 0
    assert said == ["measured"] * 4 + ["done"] * 4


@pytest.mark.usefixtures("left")
def test_a_load_says_how_long_its_start_took(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--concurrent", "2", "--duration", "1", "--component", "session")
    assert main(["bench", "load", *words]) in FINE
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"2 processes, ready after [\d.]+m?s; in 1s, 20 a second: ", said)


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize(
    ("when", "said"),
    [("start", "0 of 1 processes came as far as ready"), ("go", "0 of 1 processes came to an end")],
)
def test_a_process_that_hangs_is_not_waited_for_without_end(
    when: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = getattr(Workers, when)

    def done_and_stopped(workers: Workers, *arguments: Any) -> None:
        done(workers, *arguments)
        os.kill(workers.pids[0], signal.SIGSTOP)

    monkeypatch.setattr(Workers, when, done_and_stopped)
    monkeypatch.setattr(load, "_SILENCE_S", 2.0)
    words = ("--concurrent", "1", "--duration", "1", "--component", "session")
    assert main(["bench", "load", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"orchwatch: bench: {said}, and then nothing happened for 2 s"


@pytest.mark.usefixtures("left")
def test_a_rate_is_kept_where_the_machine_manages_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--concurrent", "1", "--duration", "3", "--rate", "5", "--component", "event")
    document = asked("load", *words, capsys=capsys)
    (event,) = [one for one in document["results"] if one["component"] == "event"]
    assert event["iterations"] <= 15


@pytest.mark.usefixtures("left")
def test_a_steady_load_says_what_became_of_time_memory_files_and_storage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--duration", "0.15", "--concurrent", "1", "--component", "event", "--rate", "0")
    document = asked("stress", *words, capsys=capsys)
    assert [one["name"] for one in document["growth"]] == ["memory", "open files", "storage"]
    assert all(one["before"] > 0 for one in document["growth"])
    # Each operation is recorded, and each event is kept.
    assert document["growth"][2]["after"] > document["growth"][2]["before"]
    assert "storage" not in document["grew"]
    assert {one["operation"] for one in document["drift"]} == {"event.process", "state.increment"}


def started(home: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*BENCH, *words],
        env={**os.environ, "ORCHWATCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )


def below(process: subprocess.Popen[bytes], at_least: int) -> list[psutil.Process]:
    """What it has started, once there are so many."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = psutil.Process(process.pid).children(recursive=True)
        if len(found) >= at_least:
            return found
        time.sleep(0.01)
    raise AssertionError("nothing was started")


ENDED = [
    ("run", ["--component", "agent", "--iterations", "100000"], 2),
    ("run", ["--iterations", "5", "--", "sleep", "1000"], 2),
    ("load", ["--component", "message", "--concurrent", "2", "--duration", "1000"], 4),
]


@pytest.mark.parametrize(("action", "words", "number"), ENDED)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle_it_leaves_no_process(
    home: Path, action: str, words: list[str], number: int, how: signal.Signals
) -> None:
    process = started(home, action, *words)
    children = below(process, number)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    _, alive = psutil.wait_procs(children, timeout=120)
    assert alive == []
    if how == signal.SIGINT:
        assert process.returncode == 130
        (line,) = err.decode().splitlines()
        assert re.fullmatch(r"orchwatch: bench: ended .*; nothing was kept", line)
    if how == signal.SIGKILL:  # the next one puts away what that one could not
        assert main(["bench", "run", "--component", "event", "--iterations", "1"]) in FINE
    names = {path.name for path in (home / "benchmarks").iterdir()}
    assert names <= KEPT


def test_progress_is_shown_on_a_terminal_and_nowhere_else(home: Path) -> None:
    words = ("run", "--component", "event", "--iterations", "3000")
    quiet = started(home, *words)
    _, err = quiet.communicate(timeout=120)
    # A busy machine may miss the target, which is said there too.
    assert b"iterations" not in err
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*BENCH, *words],
        env={**os.environ, "ORCHWATCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 1000)
            except OSError:  # Linux's end of a terminal
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None
        assert b"event.process" in process.stdout.read()
    os.close(ours)
    assert b"of 3000 iterations, event" in shown
    assert shown.endswith(b"\r\x1b[K")


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file"))
    assert main(["bench", "run", "--component", "event", "--iterations", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a benchmark cannot work there: Not a directory" in line
