"""The processes that benchmark, started, listened to and ended by the one that a person started."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psutil

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime import settings, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import FrameType, TracebackType
    from typing import Never

    from orchwatch.runtime.settings import Tuned

_LEAVE_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 16
_TERMINATED = 128 + signal.SIGTERM
# What a worker must not take over: it would continue a trace of the person's, or export elsewhere.
_NOT_HANDED_ON = ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "CLAUDE_CODE_SESSION_ID")


class BenchmarkError(OrchwatchError):
    """A component cannot be benchmarked here; the message names it and the reason."""


class EndedEarlyError(OrchwatchError):
    """The benchmark was ended; nothing is left running, and nothing was kept."""

    exit_code = 128 + signal.SIGINT


@dataclass(eq=False)
class _Worker:
    number: int
    name: str
    process: subprocess.Popen[bytes]
    into: int
    out: int
    unread: bytes = b""
    done: bool = False


@dataclass
class Workers:
    """Processes that benchmark, in a home of their own; leaving the `with` block ends them all.

    What they do is recorded as everywhere, but into a spool beside the person's, which is removed
    in the end: no figure of the person's has an operation of a benchmark.

    Attributes:
        home: The person's home; that of the workers lies in it, on the same disk.
        tuned: The settings that they work with in the place of those that `orchwatch tune` has
            found for the person.
    """

    home: Path
    tuned: Mapping[str, Tuned] | None = None
    _running: list[_Worker] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __enter__(self) -> Self:
        directory = self.home / "benchmarks"
        self.scratch = directory / f"running-{os.getpid()}"
        try:
            directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            _remove_left(directory)
            self.scratch.mkdir(mode=DIRECTORY_MODE)
            self._lock = files.directory(self.scratch)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"{self.scratch}: a benchmark cannot work there: {error.strerror}"
            raise BenchmarkError(message) from error
        self.workspace = self.scratch / "workspace"
        self.workspace.mkdir(mode=DIRECTORY_MODE)
        settings.keep(
            self.scratch / "home", settings.tuned(self.home) if self.tuned is None else self.tuned
        )
        self._handler = signal.signal(signal.SIGTERM, _unwind)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with signals.held_back():
            self.end()
            _remove(self.scratch)
            os.close(self._lock)
        signal.signal(signal.SIGTERM, self._handler)

    @property
    def started(self) -> int:
        """How many were, so far."""
        return len(self._running)

    @property
    def pids(self) -> list[int]:
        """Of those that run."""
        return [worker.process.pid for worker in self._running if worker.process.poll() is None]

    def start(self, name: str, task: Mapping[str, Any]) -> None:
        """Starts one more.

        Args:
            name: What it benchmarks, for messages.
            task: What it is to do, JSON; see `worker`.
        """
        number = len(self._running)
        told = {**task, "workspace": str(self.workspace), "number": number}
        environment = {key: value for key, value in os.environ.items() if key not in _NOT_HANDED_ON}
        environment["ORCHWATCH_HOME"] = str(self.scratch / "home")
        environment["ORCHWATCH_EXPORT"] = "spool"
        theirs_in, into = os.pipe()
        out, theirs_out = os.pipe()
        with signals.held_back():
            try:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", "orchwatch.bench.worker"),
                        *(json.dumps(told), str(theirs_in), str(theirs_out)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=(theirs_in, theirs_out),
                    process_group=0,
                )
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            worker = _Worker(number, name, process, into, out)
            self._running.append(worker)
        self._selector.register(out, selectors.EVENT_READ, worker)

    def go(self) -> None:
        """Lets those that wait for each other go on."""
        for worker in self._running:
            with contextlib.suppress(BrokenPipeError):
                os.write(worker.into, b"\n")

    def messages(self, wake_s: float | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """What they say, with the number of who says it, until all are done.

        Args:
            wake_s: Give `(-1, {})` whenever so many seconds passed, for the caller to look around.

        Raises:
            BenchmarkError: One of them cannot go on.
        """
        wake_at_s = time.monotonic() + (wake_s or 0)
        while not all(worker.done for worker in self._running):
            wait_s = None if wake_s is None else max(0.0, wake_at_s - time.monotonic())
            for key, _ in self._selector.select(wait_s):
                yield from self._read(key.data)
            if wake_s is not None and time.monotonic() >= wake_at_s:
                wake_at_s = time.monotonic() + wake_s
                yield -1, {}

    def end(self) -> None:
        """Ends all, and all that they have started: first in order, then without asking."""
        started: list[psutil.Process] = []
        for worker in self._running:
            with contextlib.suppress(psutil.Error):
                started += psutil.Process(worker.process.pid).children(recursive=True)
        for worker in self._running:
            with contextlib.suppress(OSError):
                os.close(worker.into)
            worker.process.terminate()
        deadline_s = time.monotonic() + _LEAVE_TIMEOUT_S
        for worker in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, deadline_s - time.monotonic()))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
            os.close(worker.out)
        _, left = psutil.wait_procs(started, max(0.0, deadline_s - time.monotonic()))
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, _LEAVE_TIMEOUT_S)
        self._running.clear()
        self._selector.close()

    def _read(self, worker: _Worker) -> Iterator[tuple[int, dict[str, Any]]]:
        data = os.read(worker.out, _READ_BYTES)
        if not data:
            self._selector.unregister(worker.out)
            if not worker.done:
                status = worker.process.wait()
                raise BenchmarkError(
                    f"{worker.name}: its process ended early, with exit status {status}"
                )
            return
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "failed" in message:
                raise BenchmarkError(f"{worker.name}: {message['failed']}")
            worker.done = worker.done or "done" in message
            yield worker.number, message


def _remove_left(directory: Path) -> None:
    """What a killed benchmark has left: its lock is free."""
    for left in directory.glob("running-*"):
        try:
            lock = files.directory(left)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)
        except OSError:
            continue  # it still runs
        finally:
            os.close(lock)


def _remove(directory: Path) -> None:
    """Removes it, though a process that was just started in it may end only now."""
    deadline_s = time.monotonic() + _LEAVE_TIMEOUT_S
    while directory.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(directory, ignore_errors=True)


def _unwind(_number: int, _frame: FrameType | None) -> Never:
    raise SystemExit(_TERMINATED)
