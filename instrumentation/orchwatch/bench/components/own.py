"""A user's own component: a command run as a process, or a Python callable."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchwatch.bench.case import Case, IterationError
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_MAX_SAID_BYTES = 4096


class OwnCommand(Case):
    """Runs a command until it ends; any exit status but 0 is a failure.

    It reads nothing, what it writes to stdout is dropped, and its last line on stderr says why it
    failed. It is a process group of its own, none of which outlives the iteration.
    """

    def __init__(self, workspace: Path, command: Sequence[str]) -> None:
        super().__init__(workspace)
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        # A file and no pipe: what the command leaves running could keep that one open.
        with tempfile.TemporaryFile() as stderr:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                process_group=0,
            )
            code = self._process.wait()
            if code:
                stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _MAX_SAID_BYTES))
                lines = stderr.read().decode(errors="replace").strip().splitlines()
                raise IterationError(": ".join([_how(code), *lines[-1:]]))

    def settle(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        self.settle()


def _how(code: int) -> str:
    if code > 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"signal {-code}"


class OwnCallable(Case):
    """Calls a function without arguments; a coroutine that it gives is run to its end."""

    def __init__(self, workspace: Path, path: str) -> None:
        super().__init__(workspace)
        self._function = found(path)
        self._runner: asyncio.Runner | None = None

    def run(self) -> None:
        result = self._function()
        if inspect.iscoroutine(result):
            if self._runner is None:
                self._runner = asyncio.Runner()
            self._runner.run(result)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


def found(path: str) -> Callable[[], Any]:
    """The callable that `pkg.mod:name` names; `name` may have dots.

    Raises:
        OrchwatchError: There is none, or its module cannot be imported.
    """
    module, _, name = path.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        value: Any = import_module(module)
    except Exception as error:
        raise OrchwatchError(
            f"{module} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        value = getattr(value, part, None)
    if not callable(value):
        raise OrchwatchError(f"{module} has no callable {name}")
    function: Callable[[], Any] = value
    return function
