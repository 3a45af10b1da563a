"""What `configure` installs in the whole process leaves its host as it was, however it forks.

ORCHWATCH_TEST_POOLS sets how many pools of processes each loop makes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orchwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]
    Start = Callable[..., subprocess.Popen[str]]
    Kept = Callable[[str], list[dict[str, Any]]]

POOLS = int(os.environ.get("ORCHWATCH_TEST_POOLS", "6"))
LIMIT_S = 270
CHILDREN = 3

# A file, as the children of spawn and forkserver import it.
POOL = """
import multiprocessing, signal, sys, warnings
warnings.simplefilter("error", DeprecationWarning)
from orchwatch import configure, operation
def work(number):
    with operation("pool.work"):
        return number
def inside(number):
    configure(export="spool")
    return work(number)
if __name__ == "__main__":
    method, pools, children, configured = sys.argv[1:]
    if configured == "in the parent":
        configure(export="spool")
    task = work if configured == "in the parent" else inside
    context = multiprocessing.get_context(method)
    for _ in range(int(pools)):
        with context.Pool(int(children)) as pool:
            assert pool.map(task, range(6), 1) == list(range(6))
    print("done")
"""


@pytest.mark.parametrize("configured", ["in the parent", "in the children"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_end_and_lose_nothing(
    tmp_path: Path,
    start_file: Callable[..., subprocess.Popen[str]],
    kept: Kept,
    method: str,
    configured: str,
) -> None:
    program = tmp_path / "pool.py"
    program.write_text(POOL)

    process = start_file(program, method, POOLS, CHILDREN, configured)

    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (0, "done\n", "")
    assert [span["name"] for span in kept("operations")] == ["pool.work"] * 6 * POOLS


# As gunicorn does: workers with handlers of their own, which the parent ends one by one.
PREFORK = """
import os, signal, sys
from orchwatch import configure, count, operation
{before}
configure(export="spool")
{after}
def end(*_):
    sys.exit(0)
workers = []
for number in range(8):
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, end)
        with operation("request"): count("requests")
        os.write(tell, b"x")
        while True: signal.pause()
    os.read(ready, 1)
    workers.append(pid)
for pid in workers: os.kill(pid, signal.SIGTERM)
print([os.waitpid(pid, 0)[1] for pid in workers])
"""
OWN = "signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))"


@pytest.mark.parametrize(("before", "after"), [("", ""), (OWN, ""), ("", OWN)])
def test_workers_of_a_prefork_server_end_as_they_handle_it_and_lose_nothing(
    run_python: Run, kept: Kept, before: str, after: str
) -> None:
    out = run_python(PREFORK.format(before=before, after=after))

    assert out == f"{[0] * 8}\n"
    assert [span["name"] for span in kept("operations")] == ["request"] * 8


@pytest.mark.parametrize(("before", "after"), [("", ""), (OWN, ""), ("", OWN)])
def test_a_forked_child_has_the_hosts_handler_or_none(
    run_python: Run, before: str, after: str
) -> None:
    out = run_python(
        f"""
import os, signal
from orchwatch import configure
{before}
configure(export="spool")
{after}
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
here = signal.getsignal(signal.SIGTERM)
pid = os.fork()
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
if not pid:
    there = signal.getsignal(signal.SIGTERM)
    print(there is here if {bool(before or after)} else there is signal.SIG_DFL, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
assert signal.getsignal(signal.SIGTERM) is here
"""
    )

    assert out == "True\n"


def test_a_signal_that_comes_while_the_process_forks_is_not_lost(
    start_python: Start, kept: Kept
) -> None:
    process = start_python(
        """
import os, signal
from orchwatch import configure, operation
configure(export="spool")
# Sent at the last moment before the fork, and in the child before any code of its own.
os.register_at_fork(
    before=lambda: os.kill(os.getpid(), signal.SIGHUP) if ending else None,
    after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM) if not ending else None,
)
ending = False
for _ in range(20):
    pid = os.fork()
    if not pid:
        signal.pause()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
with operation("before"): pass
ending = True
if not os.fork(): os._exit(0)
signal.pause()
"""
    )

    assert process.wait(LIMIT_S) == -signal.SIGHUP
    assert [span["name"] for span in kept("operations")] == ["before"]


def test_no_thread_of_ours_runs_while_the_host_forks(run_python: Run) -> None:
    run_python(
        """
import os, warnings
warnings.simplefilter("error", DeprecationWarning)  # of a fork beside threads, from 3.12 on
from orchwatch import configure, count, operation
configure(export="spool")
import threading
for _ in range(20):
    pid = os.fork()
    if not pid:
        assert threading.active_count() == 1
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert threading.active_count() == 2
"""
    )


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_spans_are_on_disk_when_they_have_ended(
    start_python: Start, kept: Kept, ending: str
) -> None:
    process = start_python(
        f"""
import os, signal
from orchwatch import configure, operation
configure(export="spool")
for _ in range(100):
    with operation("state.query"): pass
{ending}
"""
    )

    process.wait(LIMIT_S)

    assert len(kept("operations")) == 100


@pytest.fixture
def start_file(home: Path) -> Any:
    """Starts a file as a program of its own."""
    started = []

    def start(program: Path, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, program, *map(str, args)],
            env={
                **os.environ,
                "ORCHWATCH_HOME": str(home),
                "PYTHONPATH": str(Path(orchwatch.__file__).parents[1]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
