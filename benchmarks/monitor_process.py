"""What the monitor process takes of memory, CPU and open files, after an hour of operations.

Run by `make bench-monitor-process`. Each monitor starts over a store that holds the last hour, at
the rate that then goes on, so that it is measured as it is after an hour and not after a minute.
`idle` is one with nothing to do but to look at session files. CPU is that of the process and of all
that it starts, over whole minutes, since its heaviest figures are due once a minute; what it starts
for some seconds, to compact, has its memory in a column of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.agents.claude_code.settings import registration
from orchwatch.analysis import snapshot_file
from orchwatch.monitor.intake import LOOK_INTERVAL_S
from orchwatch.recording import otlp_json, spool
from orchwatch.store import archive, engine, lines
from orchwatch.store.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASURED_S = 60
IDLE_S = 30
SETTLE_S = 900
MEMORY_LIMIT_MB = 150
CPU_LIMIT = 0.05
HOUR_S = 3600

_OPERATIONS = (
    semconv.STATE_QUERY,
    semconv.STATE_PERSIST,
    semconv.EVENT_PROCESS,
    semconv.MESSAGE_DELIVER,
    semconv.HOOK_PROCESS,
    semconv.TOOL_EXECUTE,
    semconv.AGENT_TASK,
)
_SESSIONS, _AGENTS = 4, 20
_LINE_BYTES = 800
_TICK_S = 0.1
_NS = 1_000_000_000
_MB = 1e6
_SETTLED = 0.9  # of what went before: some of it is too long ago by the time it is known
_SESSION_LINE = '{"type":"summary","summary":"nothing to do","leafUuid":"0"}\n'

# As `lines` would make it of the lines that are fed afterwards.
_HOUR = """
INSERT INTO spool BY NAME SELECT $segment AS segment, 'operations' AS family, uuid() AS trace_id,
    (random() * 1e18)::UBIGINT AS span_id, operation AS name, operation, 1 AS kind, end_ns,
    (exp(random() * 6) * 1e6)::BIGINT AS duration_ns,
    CASE WHEN random() < 0.005 THEN 2 ELSE 1 END AS status, 'orchestration' AS service,
    'session-' || (number % $sessions) AS session_id, 'agent-' || (number % $agents) AS agent,
    '[{"key":"process.pid","value":{"intValue":"1"}}]' AS resource,
    '{"name":"orchwatch"}' AS scope
FROM (
    SELECT i AS number, $operations[1 + i % len($operations)] AS operation,
        $first_ns + i * $step_ns AS end_ns FROM range($count) AS t(i)
)
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a monitor took.

    Attributes:
        name: What it had to do.
        rate: Operations a second.
        cpu: Share of a core.
        memory_mb: The most that was resident.
        worker_mb: The most that was resident of what it started.
        growth_mb: How much more that was at the end than at the beginning.
        files: The most that were open.
    """

    name: str
    rate: int
    cpu: float
    memory_mb: float
    worker_mb: float
    growth_mb: float
    files: int


def main() -> int:
    """Prints what each monitor takes; 3 where one takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--session-files", type=int, nargs="*", default=[300, 1000])
    parser.add_argument("--seconds", type=int, default=MEASURED_S)
    parser.add_argument("--behind", type=int, default=HOUR_S, help="seconds that went before")
    arguments = parser.parse_args()
    print(
        f"{'':28}{'CPU of a core':>14}{'limit':>7}{'MB':>7}{'limit':>7}{'grew':>7}"
        f"{'worker':>8}{'files':>7}"
    )
    found = []
    for measured in (
        *(partial(_idle, number) for number in arguments.session_files),
        *(partial(_busy, rate, arguments.seconds, arguments.behind) for rate in arguments.rates),
    ):
        found.append(one := measured())
        each = f"{one.cpu / one.rate * 1e6:8.0f} us an operation" if one.rate else ""
        print(
            f"{one.name:28}{one.cpu:14.2%}{CPU_LIMIT:7.0%}{one.memory_mb:7.0f}"
            f"{MEMORY_LIMIT_MB:7.0f}{one.growth_mb:+7.1f}{one.worker_mb:8.0f}{one.files:7}{each}",
            flush=True,
        )
    missed = [one.name for one in found if one.cpu > CPU_LIMIT or one.memory_mb > MEMORY_LIMIT_MB]
    for name in missed:
        print(f"above its limit: {name}")
    return 3 if missed else 0


def _idle(session_files: int) -> Measured:
    with _home() as home:
        projects = home / "projects"
        for number in range(session_files):
            path = (
                projects / f"-work-{number % 20}" / f"00000000-0000-4000-8000-{number:012d}.jsonl"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_SESSION_LINE)
            os.utime(path, (time.time() - 24 * HOUR_S,) * 2)
        with _monitor(projects) as process:
            return _measure(process, f"idle, {session_files} session files", 0, IDLE_S)


def _busy(rate: int, seconds: int, behind_s: int) -> Measured:
    with _home() as home:
        _fill(home, rate, behind_s)
        feeder = _Feeder(rate)
        feeder.start()
        try:
            with _monitor(home / "projects") as process:
                _wait_until(lambda: _known(home) >= _SETTLED * rate * behind_s)
                _wait_until(lambda: _is_quiet(process.pid))
                return _measure(process, f"{rate} operations/s", rate, seconds)
        finally:
            feeder.end()


@contextmanager
def _home() -> Iterator[Path]:
    directory = tempfile.mkdtemp()
    os.environ["ORCHWATCH_HOME"] = directory
    try:
        yield Path(directory)
    finally:
        spool._spools[spool.OPERATIONS].close()
        shutil.rmtree(directory)


def _fill(home: Path, rate: int, behind_s: int) -> None:
    """Operations that ended before now, compacted as they would be by now."""
    (home / "store").mkdir()
    count = rate * behind_s
    step_ns = _NS // rate
    first_ns = time.time_ns() - behind_s * _NS
    in_file = spool.SEGMENT_BYTES // _LINE_BYTES
    connection = engine.connect(home / "spill")
    lines.prepare(connection)
    for start in range(0, count, in_file):
        identity = os.urandom(16).hex()
        number = min(in_file, count - start)
        connection.execute(
            _HOUR,
            {
                "segment": identity,
                "sessions": _SESSIONS,
                "agents": _AGENTS,
                "operations": list(_OPERATIONS),
                "first_ns": first_ns + start * step_ns,
                "step_ns": step_ns,
                "count": number,
            },
        )
        segment = Segment(
            path=home / "spool" / f"operations-{start // in_file + 1:06d}.jsonl",
            family=spool.OPERATIONS,
            number=start // in_file + 1,
            id=identity,
            size_bytes=number * _LINE_BYTES,
            modified_ns=first_ns + (start + number) * step_ns,
            closed=True,
        )
        archive.write(
            connection,
            home / "store",
            segment,
            source_bytes=segment.size_bytes,
            unreadable=0,
            before=None,
        )
        connection.execute("DELETE FROM spool")
    connection.close()


class _Feeder(threading.Thread):
    """Appends operations at a rate, as their programs do."""

    def __init__(self, rate: int) -> None:
        super().__init__(daemon=True)
        self._number = round(rate * _TICK_S)
        self._ended = threading.Event()
        self._random = random.Random(1)  # noqa: S311 - durations, no secrets
        resource = otlp_json.encode_attributes(
            {
                semconv.SERVICE_NAME: "orchestration",
                semconv.PROCESS_PID: os.getpid(),
                semconv.HOST_NAME: os.uname().nodename,
            }
        )
        self._prefix = otlp_json.spans_prefix(resource, semconv.SCOPE, "0.1.0")

    def run(self) -> None:
        due_s = time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            due_s += _TICK_S
            now_ns = time.time_ns()
            written = "".join(self._line(now_ns, number) for number in range(self._number))
            spool.append(spool.OPERATIONS, otlp_json.to_bytes(written), self._number)

    def end(self) -> None:
        """Appends no more."""
        self._ended.set()
        self.join()

    def _line(self, now_ns: int, number: int) -> str:
        operation = self._random.choice(_OPERATIONS)
        duration_ns = int(1e6 * self._random.lognormvariate(1.5, 1.0))
        attributes = {
            semconv.OPERATION_NAME: operation,
            semconv.SESSION_ID: f"session-{number % _SESSIONS}",
            semconv.GEN_AI_AGENT_NAME: f"agent-{number % _AGENTS}",
        }
        failed = self._random.random() < 0.005  # noqa: PLR2004 - half a percent
        span = otlp_json.encode_span(
            trace_id=f"{self._random.getrandbits(128):032x}",
            span_id=f"{self._random.getrandbits(64):016x}",
            parent_span_id="",
            name=otlp_json.quote(operation),
            start_ns=now_ns - duration_ns,
            end_ns=now_ns,
            attributes=otlp_json.encode_attributes(attributes),
            status=otlp_json.STATUS_ERROR if failed else otlp_json.STATUS_OK,
        )
        return f"{self._prefix}{span}{otlp_json.LINE_SUFFIX}"


@contextmanager
def _monitor(projects: Path) -> Iterator[subprocess.Popen[bytes]]:
    os.environ[registration.PORT_VARIABLE] = str(_free_port())
    command = [sys.executable, "-m", "orchwatch.cli", "monitor", "--projects", str(projects)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_until((Path(os.environ["ORCHWATCH_HOME"]) / "snapshot.json").exists)
        if process.poll() is not None:
            raise SystemExit("the monitor has ended")
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    import socket  # noqa: PLC0415 - for this alone

    with socket.create_server((registration.MONITOR_HOST, 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the monitor does not come to know what was there before it")
        time.sleep(0.5)


def _is_quiet(pid: int) -> bool:
    """Whether it has read what came meanwhile: no tenth of a core for two looks at the spool."""
    before_s, started_s = _cpu_s(pid), time.monotonic()
    time.sleep(2 * LOOK_INTERVAL_S)
    return _cpu_s(pid) - before_s < (time.monotonic() - started_s) / 10


def _known(home: Path) -> int:
    """How many operations the monitor knows of, as its snapshot says."""
    snapshot = snapshot_file.read(str(home)) or {"operations": {}}
    return sum(one["count"] for one in snapshot["operations"].values())


def _measure(process: subprocess.Popen[bytes], name: str, rate: int, seconds: float) -> Measured:
    cpu_s, started_s = _cpu_s(process.pid), time.monotonic()
    memory, workers, files = [], [0.0], []
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        memory.append(_memory_bytes(process.pid) / _MB)
        workers += [_memory_bytes(pid) / _MB for pid in _children(process.pid)]
        files.append(len(os.listdir(f"/proc/{process.pid}/fd")))
        time.sleep(0.1)
    part = max(1, len(memory) // 6)
    return Measured(
        name=name,
        rate=rate,
        cpu=(_cpu_s(process.pid) - cpu_s) / elapsed_s,
        memory_mb=max(memory),
        worker_mb=max(workers),
        growth_mb=max(memory[-part:]) - max(memory[:part]),
        files=max(files),
    )


def _cpu_s(pid: int) -> float:
    """Its own, that of its children that have ended, and of those that have not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own_s = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own_s + sum(map(_cpu_s, _children(pid)))


def _children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in children.split()]


def _memory_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
