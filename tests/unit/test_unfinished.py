"""What was running when its process was killed is seen, once, on both paths."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation
from orchwatch.recording import in_flight
from orchwatch.store import unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]
    Start = Callable[..., subprocess.Popen[str]]
    Spans = Callable[..., list[dict[str, Any]]]
    Named = Callable[[str], dict[str, Any]]

LIMIT_S = 60
KILLS = int(os.environ.get("ORCHWATCH_TEST_KILLS", "8"))
PATHS = {"fast": "", "sdk": "orchwatch.configure(export='spool', service_name='svc')\n"}

LONG = """
import os, signal, sys, threading, time
import orchwatch
from orchwatch import operation, attach
"""
WAIT = """
print("open", flush=True)
while True: signal.pause()
"""


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.send_signal(number)
    assert process.wait(LIMIT_S) == -number


def test_only_the_user_can_read_what_is_in_flight(run_python: Run, home: Path) -> None:
    run_python(
        "import os; os.umask(0)\nfrom orchwatch import operation\noperation('x').__enter__()"
    )
    assert {oct(path.stat().st_mode & 0o777) for path in (home, home / in_flight.DIRECTORY)} == {
        "0o700"
    }


@pytest.mark.parametrize("path", PATHS)
def test_what_a_killed_process_had_open_is_closed_once_as_unfinished(
    start_python: Start, home: Path, spans: Spans, named: Named, path: str
) -> None:
    code = """
with attach({"baggage": "session.id=s-17"}), operation("agent.run", {"task": "t"}) as outer:
    with operation("ended"): pass
    print(outer.trace_id, outer.span_id, outer.start_ns, flush=True)
    with operation("own.name"):
"""
    body = "".join(f"        {line}\n" for line in WAIT.splitlines())
    process = start_python(LONG + PATHS[path] + code + body, OTEL_SERVICE_NAME="svc")
    assert process.stdout is not None
    trace_id, span_id, start_ns = process.stdout.readline().split()
    assert process.stdout.readline() == "open\n"
    unfinished.close(home)
    assert [span["name"] for span in spans()] == ["ended"]  # it is alive
    process.kill()
    process.wait(LIMIT_S)

    for _ in range(3):
        unfinished.close(home)

    assert sorted(span["name"] for span in spans()) == ["agent.run", "ended", "own.name"]
    outer = named("agent.run")
    assert (outer["traceId"], outer["spanId"]) == (trace_id, span_id)
    assert outer["startTimeUnixNano"] == start_ns
    assert int(outer["endTimeUnixNano"]) > int(start_ns)
    assert outer["status"] == {"code": 2}
    texts = {key: value.get("stringValue") for key, value in outer["attributes"].items()}
    assert texts == {
        "orchestration.operation.name": "agent.run",
        "session.id": "s-17",
        "task": "t",
        "error.type": "unfinished",
        "orchestration.unfinished.reason": "killed",
    }
    inner = named("own.name")
    assert (inner["traceId"], inner["parentSpanId"]) == (trace_id, span_id)
    assert not list((home / in_flight.DIRECTORY).iterdir())


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_configured_process_says_which_signal_ends_it(
    start_python: Start, home: Path, named: Named, number: int, reason: str
) -> None:
    process = start_python(LONG + PATHS["sdk"] + "operation('agent.task').__enter__()\n" + WAIT)

    kill(process, number)
    unfinished.close(home)

    reasons = named("agent.task")["attributes"]["orchestration.unfinished.reason"]
    assert reasons == {"stringValue": reason}


def test_a_command_says_which_signal_ended_it(home: Path, named: Named, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(unfinished.__file__).parents[2])!r})\n"
        "import os, signal\nfrom orchwatch import operation\n"
        "with operation('agent.task'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    command = [sys.executable, "-m", "orchwatch.cli", "run", "--", sys.executable, str(program)]
    subprocess.run(command, check=False, timeout=LIMIT_S)
    unfinished.close(home)

    reasons = named("agent.task")["attributes"]["orchestration.unfinished.reason"]
    assert reasons == {"stringValue": "SIGKILL"}
    assert named("command.run")["attributes"]["error.type"] == {"stringValue": "SIGKILL"}


def test_a_killed_wrapper_of_a_command_is_unfinished(
    home: Path, named: Named, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    command = ["run", "--", "/bin/sh", "-c", f"echo x > {shlex.quote(str(ready))}; exec sleep 60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", *command], start_new_session=True
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait(LIMIT_S)
        unfinished.close(home)
    finally:
        os.killpg(process.pid, signal.SIGKILL)

    span = named("command.run")
    assert span["attributes"]["error.type"] == {"stringValue": "unfinished"}


def test_an_ended_process_leaves_nothing(start_python: Start, home: Path, spans: Spans) -> None:
    process = start_python(LONG + "with operation('agent.run'): pass\n")

    assert process.wait(LIMIT_S) == 0

    assert not list((home / in_flight.DIRECTORY).iterdir())
    unfinished.close(home)
    assert [span["status"] for span in spans()] == [{"code": 1}]


def test_a_forked_child_keeps_no_parent_alive_and_closes_nothing_of_it(
    start_python: Start, home: Path, named: Named
) -> None:
    process = start_python(
        LONG
        + """
operation("parents").__enter__()
runs, says = os.pipe()
if not os.fork():
    os.setsid()
    os.close(1); os.close(2)
    os.write(says, b"x")
    time.sleep(5)
    os._exit(0)
os.read(runs, 1)
"""
        + WAIT
    )

    kill(process)
    unfinished.close(home)

    assert named("parents")["attributes"]["error.type"] == {"stringValue": "unfinished"}


def test_one_that_has_closed_all_its_files_is_alive_all_the_same(
    start_python: Start, home: Path, spans: Spans
) -> None:
    process = start_python(
        LONG + "operation('daemon').__enter__()\nos.closerange(3, 1000)\n" + WAIT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"

    unfinished.close(home)

    assert not (home / "spool").exists()
    process.kill()
    process.wait(LIMIT_S)
    unfinished.close(home)
    assert [span["name"] for span in spans()] == ["daemon"]


def test_after_a_boot_the_reason_is_that(start_python: Start, home: Path, named: Named) -> None:
    kill(start_python(LONG + "operation('agent.run').__enter__()\n" + WAIT))
    (file,) = (home / in_flight.DIRECTORY).iterdir()
    data = file.read_bytes()
    boot = in_flight.boot_id().encode()
    file.write_bytes(data.replace(boot, b"0" * len(boot)))

    unfinished.close(home)

    reasons = named("agent.run")["attributes"]["orchestration.unfinished.reason"]
    assert reasons == {"stringValue": "host rebooted"}


@pytest.mark.parametrize("damage", [b"", b"\xff" * 9000, b"1 2 3 4\n{\n" + b"{}\n" * 4000])
def test_a_damaged_file_costs_nothing_else(
    start_python: Start, home: Path, spans: Spans, damage: bytes
) -> None:
    kill(start_python(LONG + "operation('agent.run').__enter__()\n" + WAIT))
    (home / in_flight.DIRECTORY / "1-2").write_bytes(damage)
    os.mkfifo(home / in_flight.DIRECTORY / "3-4")

    unfinished.close(home)

    assert [span["name"] for span in spans()] == ["agent.run"]


def test_one_whose_line_a_kill_has_cut_off_is_closed_all_the_same(
    start_python: Start, home: Path, spans: Spans
) -> None:
    process = start_python(
        LONG
        + "with operation('ended'): pass\n"
        + "op = operation('agent.run'); op.__enter__(); print(op.span_id, flush=True)\n"
        + WAIT
    )
    assert process.stdout is not None
    span_id = process.stdout.readline().strip()
    kill(process)
    (segment,) = (home / "spool").glob("operations-*.jsonl")
    whole = segment.read_bytes().splitlines()[-1]
    cut = whole[: whole.index(b'"spanId"')] + f'"spanId":"{span_id}","name":"ag'.encode()
    with segment.open("ab") as file:
        file.write(cut)
    with operation("of another process"):
        pass  # begins a new line

    unfinished.close(home)

    found = spans(cut_off=1)
    assert [span["spanId"] for span in found if span["name"] == "agent.run"] == [span_id]


def test_every_operation_counts_once_after_every_kill(
    tmp_path: Path, start_python: Start, home: Path, spans: Spans
) -> None:
    """Killed at any step, an operation is one span: ended or unfinished."""
    ended_file = tmp_path / "ended"
    emitted = 0
    for kill_number in range(1, KILLS + 1):
        ended_file.write_bytes(bytes(8))
        process = start_python(
            LONG
            + """
import mmap
with open(sys.argv[1], "r+b") as file: ended = mmap.mmap(file.fileno(), 8)
number = 0
while True:
    with operation("agent.task"): pass
    number += 1
    ended[:8] = number.to_bytes(8, "little")
""",
            ended_file,
        )
        deadline = time.monotonic() + LIMIT_S
        while int.from_bytes(ended_file.read_bytes(), "little") < 20:
            assert time.monotonic() < deadline
        time.sleep(random.random() / 50)
        process.kill()
        process.wait(LIMIT_S)
        emitted += int.from_bytes(ended_file.read_bytes(), "little")
        unfinished.close(home)
        ids = [span["spanId"] for span in spans(cut_off=kill_number)]
        assert len(set(ids)) == len(ids)
        assert 0 <= len(ids) - emitted <= kill_number
