from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

import orchwatch
from orchwatch.recording import losses, spool
from orchwatch.recording.otlp_json import STATUS_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Tests run beside each other: threads that spin for a core would take it from all.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# A machine that is busy with something else takes long.
ENDED_WITHIN_S = 240
PACKAGE_ROOT = Path(orchwatch.__file__).parent.parent
# What Python 3.12 and newer say of a fork in a process that has threads: here it is meant so.
FORKS_WITH_THREADS = {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}

# What a shell, a terminal or a user's profile may say, and no test means.
OF_THE_SHELL = (
    *("LANG", "LC_", "LANGUAGE", "COLUMNS", "LINES", "TERM", "COLORTERM", "CLICOLOR", "NO_COLOR"),
    *("FORCE_COLOR", "PAGER", "PYTHONWARNINGS", "PYTHONUTF8", "PYTHONIOENCODING"),
    *("PYTHONOPTIMIZE", "PYTHONUNBUFFERED", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"),
)


def start_alike() -> None:
    """However the tests are started, each starts as in a shell of somebody's own.

    Programs inherit what their starter ignores (nohup SIGHUP, a shell SIGINT of a job in the
    background), blocks or has closed, and hand it on to all that the tests start.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN and number not in _PYTHON_IGNORES:
            interrupts = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupts else signal.SIG_DFL)
    os.umask(0o022)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for variable in list(os.environ):
        if variable.startswith(OF_THE_SHELL):
            del os.environ[variable]
    sys.dont_write_bytecode = False  # the same is compiled once, not in each process
    os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)}
    os.environ.setdefault("HOME", tempfile.gettempdir())
    time.tzset()


_PYTHON_IGNORES = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}
_STDERR = 2
start_alike()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own for each test, nothing to continue, no setting but the defaults."""
    for variable in list(os.environ):
        if variable.startswith(("ORCHWATCH_", "OTEL_", "TRACEPARENT", "BAGGAGE", "XDG_", "CLAUDE")):
            monkeypatch.delenv(variable)
    path = tmp_path / "home"
    monkeypatch.setenv("ORCHWATCH_HOME", str(path))
    # Where the ledger of losses falls back to, and `multiprocessing` has its sockets: those paths
    # may be a hundred characters long.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        monkeypatch.setenv("TMPDIR", temporary)
        _forget()
        yield path
        _forget()


def _forget() -> None:
    for family in spool.FAMILIES:
        spool._spools[family].close()
        spool._spools[family] = spool.Spool(family)
    losses._counted.clear()
    losses._pending.clear()
    losses._next_flush = 0.0


def read_lines(home: Path, family: str) -> tuple[list[dict[str, Any]], int]:
    """The parsed lines of all segments of a family, and how many are unreadable."""
    parsed, unreadable = [], 0
    for segment in sorted((home / "spool").glob(f"{family}-*.jsonl")):
        for line in segment.read_bytes().split(b"\n"):
            if line:
                try:
                    parsed.append(json.loads(line))
                except ValueError:
                    unreadable += 1
    return parsed, unreadable


@pytest.fixture
def lines(home: Path) -> Callable[[str], tuple[list[dict[str, Any]], int]]:
    """Reads a family: its parsed lines, headers included, and the number of unreadable ones."""
    return lambda family: read_lines(home, family)


@pytest.fixture
def spans(home: Path) -> Callable[..., list[dict[str, Any]]]:
    """Reads the spans in the spool as they were written, with `attributes` as a plain dict.

    A kill may cut a line off: `cut_off` says how many there may be at most.
    """

    def read(cut_off: int = 0) -> list[dict[str, Any]]:
        parsed, unreadable = read_lines(home, "operations")
        assert unreadable <= cut_off
        return [
            {**span, "attributes": {entry["key"]: entry["value"] for entry in span["attributes"]}}
            for line in parsed
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read


@pytest.fixture
def flat_spans(spans: Callable[[], list[dict[str, Any]]]) -> Callable[[], list[dict[str, Any]]]:
    """Reads the spans in the spool as flat dictionaries: ids, name, attributes."""

    def read() -> list[dict[str, Any]]:
        return [
            {
                "name": span["name"],
                "trace": span["traceId"],
                "id": span["spanId"],
                "parent": span.get("parentSpanId", ""),
                "failed": span["status"]["code"] == STATUS_ERROR,
                **{key: next(iter(value.values())) for key, value in span["attributes"].items()},
            }
            for span in spans()
        ]

    return read


@pytest.fixture
def named(spans: Callable[[], list[dict[str, Any]]]) -> Callable[[str], dict[str, Any]]:
    """The one span of that name."""

    def find(name: str) -> dict[str, Any]:
        (span,) = [span for span in spans() if span["name"] == name]
        return span

    return find


@pytest.fixture
def lost(home: Path) -> Callable[[], dict[str, int]]:  # noqa: ARG001 - the ledger lies there
    """What has been lost so far, and why."""

    def read() -> dict[str, int]:
        losses.flush()
        return losses.read()

    return read


@pytest.fixture
def start_python(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a snippet in a fresh process that has nothing but the package on its path."""
    started = []

    def start(
        code: str, *args: object, flags: tuple[str, ...] = (), **environ: str
    ) -> subprocess.Popen[str]:
        program = f"import sys; sys.path.insert(0, {str(PACKAGE_ROOT)!r})\n{dedent(code)}"
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", program, *map(str, args)],
            env={
                **os.environ,
                "ORCHWATCH_HOME": str(home),
                **(FORKS_WITH_THREADS if "fork" in code else {}),
                **environ,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def release() -> Callable[[list[subprocess.Popen[str]]], None]:
    """Lets processes that wait for a line go on at once, and waits until all have ended well."""

    def go(processes: list[subprocess.Popen[str]]) -> None:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            out, err = process.communicate(timeout=ENDED_WITHIN_S)
            assert (process.returncode, out, err) == (0, "", "")

    return go


@pytest.fixture
def run_python(
    start_python: Callable[..., subprocess.Popen[str]],
) -> Callable[..., str]:
    """Runs a snippet in a fresh process and returns what it printed; it must not fail."""

    def run(code: str, *args: object, **options: Any) -> str:
        process = start_python(code, *args, **options)
        out, err = process.communicate(timeout=ENDED_WITHIN_S)
        assert (process.returncode, err) == (0, "")
        return out

    return run
