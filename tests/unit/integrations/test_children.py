"""Processes that an unedited program starts are children of the operation that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

RUN = [sys.executable, "-m", "orchwatch.cli", "run", "--"]
INSTRUMENT = [str(Path(sys.executable).parent / "opentelemetry-instrument")]
TABLE = '[instrument]\n"parent:start" = "start"\n'
CHILD = "def work():\n    pass\nwork()\n"
HEAD = """\
import asyncio, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
CHILD = [sys.executable, "child.py"]
COMMAND = f"{sys.executable} child.py"
"""
# What a program that is not watched sees of its parent's operation.
PRINT = "import os; print(os.environ.get('TRACEPARENT', ''))"


@pytest.fixture
def work(home: Path) -> Path:
    directory = home.parent / "work"
    (directory / "child.py").write_text(CHILD)
    return directory


def table(work: Path, **callables: str) -> None:
    lines = [f'"{target.replace("__", ":")}" = "{name}"' for target, name in callables.items()]
    (work / "orchwatch.toml").write_text(TABLE + "\n".join(lines))


def run(
    work: Path, body: str, *, under: list[str], main: str = "start()", python: str = sys.executable
) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    if not (work / "orchwatch.toml").exists():
        table(work)
    program = f"{HEAD}\ndef job(number):\n    return number\n\ndef start():\n{lines}\n"
    (work / "parent.py").write_text(f'{program}\nif __name__ == "__main__":\n    {main}\n')
    ended = subprocess.run(
        [*under, python, "parent.py"],
        cwd=work,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def by_name(spans: Spans) -> dict[str, list[dict[str, Any]]]:
    named: dict[str, list[dict[str, Any]]] = {}
    for span in spans():
        named.setdefault(span["name"], []).append(span)
    return named


STARTS = {
    "run": "subprocess.run(CHILD, check=True)",
    "call": "subprocess.check_output(CHILD)",
    "an environment": "subprocess.run(CHILD, check=True, env={'PATH': os.environ['PATH']})",
    "an empty environment": "subprocess.run(CHILD, check=True, env={})",
    "an environment of bytes": "subprocess.run(CHILD, check=True, env={b'A': b'b'})",
    "all parameters": (
        "subprocess.Popen(CHILD, -1, None, None, None, None, None, True, False, None, {}).wait()"
    ),
    "a copy": "subprocess.run(CHILD, check=True, env=os.environ.copy())",
    "a shell": "subprocess.run(COMMAND, shell=True, check=True)",
    "a shell, an environment": "subprocess.run(COMMAND, shell=True, check=True, env={'A': 'b'})",
    "popen": "os.popen(COMMAND).read()",
    "system": "assert os.system(COMMAND) == 0",
    "system of bytes": "assert os.system(COMMAND.encode()) == 0",
    "asyncio": (
        "async def main():\n"
        "    process = await asyncio.create_subprocess_exec(*CHILD)\n"
        "    assert await process.wait() == 0\n"
        "asyncio.run(main())"
    ),
    "asyncio's shell": (
        "async def main():\n"
        "    process = await asyncio.create_subprocess_shell(COMMAND, env={'A': 'b'})\n"
        "    assert await process.wait() == 0\n"
        "asyncio.run(main())"
    ),
    "posix_spawn": "os.waitpid(os.posix_spawn(sys.executable, CHILD, os.environ), 0)",
    "posix_spawnp": "os.waitpid(os.posix_spawnp(sys.executable, CHILD, {'A': 'b'}), 0)",
    "spawnv": "assert os.spawnv(os.P_WAIT, sys.executable, CHILD) == 0",
    "spawnlpe": "assert os.spawnlpe(os.P_WAIT, sys.executable, *CHILD, {'A': 'b'}) == 0",
    "fork and exec": (
        "pid = os.fork()\nif pid == 0:\n    os.execvp(sys.executable, CHILD)\nos.waitpid(pid, 0)"
    ),
}


@pytest.mark.parametrize("body", STARTS.values(), ids=STARTS.keys())
def test_a_program_that_is_started_is_a_child(work: Path, spans: Spans, body: str) -> None:
    table(work, child__work="work")
    run(work, body, under=RUN)
    named = by_name(spans)
    (outer,), (inner,), (command,) = named["start"], named["work"], named["command.run"]
    assert inner["parentSpanId"] == outer["spanId"]
    assert outer["parentSpanId"] == command["spanId"]
    assert inner["traceId"] == command["traceId"]


@pytest.mark.parametrize("method", ["execv", "execvp"])
def test_a_program_that_takes_the_place_of_its_starter_stays_in_the_trace(
    work: Path, spans: Spans, method: str
) -> None:
    table(work, child__work="work")
    run(work, f"os.{method}(sys.executable, CHILD)", under=RUN)
    named = by_name(spans)
    assert named["work"][0]["traceId"] == named["command.run"][0]["traceId"]


@pytest.mark.parametrize("start", ["run", "an environment", "asyncio", "posix_spawn", "system"])
def test_under_opentelemetry_instrument_a_program_gets_the_operation_too(
    work: Path, spans: Spans, start: str
) -> None:
    (work / "child.py").write_text(PRINT)
    printed = run(work, STARTS[start], under=INSTRUMENT)
    (outer,) = by_name(spans)["start"]
    assert printed == f"00-{outer['traceId']}-{outer['spanId']}-01\n"


JOBS = """\
process = context.Process(target=job, args=(1,))
process.start()
process.join()
assert process.exitcode == 0
with context.Pool(1) as pool:
    assert pool.map(job, [2]) == [2]
    assert pool.apply(job, (3,)) == 3
    assert list(pool.imap(job, [4])) == [4]
    assert list(pool.imap_unordered(job, [5])) == [5]
    assert pool.starmap_async(job, [(6,)]).get() == [6]
with ProcessPoolExecutor(1, mp_context=context) as pool:
    assert pool.submit(job, 7).result() == 7
    assert list(pool.map(job, [8])) == [8]
"""


@pytest.mark.parametrize("under", [RUN, INSTRUMENT], ids=["run", "opentelemetry-instrument"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_job_in_another_process_is_a_child(
    work: Path, spans: Spans, method: str, under: list[str]
) -> None:
    table(work, parent__job="job")
    run(work, f"context = multiprocessing.get_context({method!r})\n{JOBS}", under=under)
    named = by_name(spans)
    (outer,) = named["start"]
    assert len(named["job"]) == 8
    assert {span["parentSpanId"] for span in named["job"]} == {outer["spanId"]}
    assert {span["traceId"] for span in named["job"]} == {outer["traceId"]}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_job_belongs_to_the_operation_that_submitted_it_not_to_the_pools_first(
    work: Path, spans: Spans, method: str
) -> None:
    body = (
        f"context = multiprocessing.get_context({method!r})\n"
        "def ask(pool, number):\n    return pool.submit(job, number).result()\n"
        "with ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "    pool.submit(job, 0).result()\n"
        "    [ask(pool, number) for number in (1, 2)]"
    )
    table(work, parent__job="job", **{"parent:start.ask": "ask"})
    run(work, body, under=RUN)
    named = by_name(spans)
    asked = [span["spanId"] for span in named["ask"]]
    parents = [span["parentSpanId"] for span in named["job"]]
    assert sorted(parents) == sorted([named["start"][0]["spanId"], *asked])


def test_a_context_that_the_program_hands_over_itself_is_left_alone(work: Path) -> None:
    (work / "child.py").write_text(PRINT)
    theirs = f"00-{'1' * 32}-{'2' * 16}-01"
    body = f"subprocess.run(CHILD, check=True, env={{'TRACEPARENT': {theirs!r}}})"
    assert run(work, body, under=RUN) == f"{theirs}\n"


def test_outside_of_operations_nothing_is_handed_over_that_was_not(work: Path) -> None:
    (work / "child.py").write_text("import os; print(sorted(os.environ))")
    main = "start(); subprocess.run(CHILD, check=True, env={'A': 'b'})"
    printed = run(work, "pass", under=INSTRUMENT, main=main)
    assert "TRACEPARENT" not in printed
    assert "ORCHWATCH" not in printed


def test_errors_of_what_is_started_are_as_they_were(work: Path) -> None:
    body = (
        "import traceback\n"
        "for start in (lambda: subprocess.run(['/no/such']),\n"
        "              lambda: subprocess.run(CHILD, env=5), lambda: os.execve('/x', [], {})):\n"
        "    try:\n        start()\n"
        "    except (OSError, TypeError, ValueError, AttributeError) as error:\n"
        "        print(type(error).__name__, error, traceback.format_exc().count('orchwatch/'))"
    )
    watched = run(work, body, under=RUN)
    assert watched == run(work, body, under=[])
    assert watched.count("\n") == 3


def test_a_worker_that_lacks_the_package_works_on(work: Path) -> None:
    table(work)
    bare = os.path.realpath(sys.executable)
    body = (
        "os.environ.pop('PYTHONPATH')\n"
        "context = multiprocessing.get_context('spawn')\n"
        "with ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "    print(pool.submit(job, 1).result())\n"
        "process = context.Process(target=job, args=(1,))\nprocess.start()\nprocess.join()\n"
        "print(process.exitcode)"
    )
    assert run(work, body, under=RUN, python=bare) == "1\n0\n"


def test_functions_that_start_processes_can_be_watched_themselves(work: Path, spans: Spans) -> None:
    table(work, child__work="work", subprocess__run="command.run")
    run(work, STARTS["run"], under=RUN)
    named = by_name(spans)
    inner, outer = sorted(named["command.run"], key=lambda span: "parentSpanId" not in span)
    assert inner["parentSpanId"] == named["start"][0]["spanId"]
    assert named["work"][0]["parentSpanId"] == inner["spanId"]
    assert "parentSpanId" not in outer
