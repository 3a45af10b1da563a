"""What a session's shared state costs beside plain SQLite: `make bench-runtime`.

Both write a row per path to a file in WAL mode, with the same durability, in one run: the ratio is
what versions, the log of changes and the operation that is recorded for each write add. The last is
the most of it, so it is shown by itself: the second floor records an operation for each plain
write, too. As the state grows, one process is measured beside plain SQLite and a dict.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from collections.abc import Callable

WRITERS = (1, 4, 16, 32, 64)
RUN_S = 2.0
SIZES_BYTES = (10_000, 100_000, 1_000_000, 10_000_000)
WRITTEN_BYTES = (10_000, 1_000_000)
SETS = 2_000
_MEMBER_BYTES = 200

_PLAIN = """
import os, sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1] + "/plain.sqlite3", timeout=60, isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL"); connection.execute("PRAGMA synchronous=NORMAL")
def write(number):
    row = f"w{os.getpid()}.{number % 50}", "1"
    connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", row)
"""
_RECORDED = (
    _PLAIN.replace("write(number)", "plain(number)")
    + """
from orchwatch import operation
def write(number):
    with operation("state.persist", {"session.id": "bench", "orchestration.state.path": "w"}):
        plain(number)
"""
)
_OURS = """
import os, sys, time
from orchwatch.runtime.session_state import SessionStateManager
state = SessionStateManager(sys.argv[1], "bench")
def write(number):
    state.set((f"w{os.getpid()}", str(number % 50)), 1)
"""
_LOOP = """
write(0)
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + float(sys.argv[2])
number = 0
while time.monotonic() < until:
    write(number)
    number += 1
print(number)
"""


def _sets_a_second(code: str, directory: str, writers: int) -> float:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code + _LOOP, directory, str(RUN_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in processes) / RUN_S


def _fill(directory: str, size_bytes: int) -> None:
    members = {str(n): "x" * _MEMBER_BYTES for n in range(size_bytes // _MEMBER_BYTES)}
    with SessionStateManager(directory, "bench") as state:
        state.set("filled", members)
    connection = sqlite3.connect(Path(directory) / "plain.sqlite3")
    with connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE nodes(path TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        connection.executemany(
            "INSERT INTO nodes VALUES (?, ?)", [(n, json.dumps(v)) for n, v in members.items()]
        )
    connection.close()


def _took_us(write: Callable[[int], object], read: Callable[[int], object]) -> list[float]:
    """Microseconds: the median write, its 99th percentile, the median read."""
    took: tuple[list[int], list[int]] = ([], [])
    for number in range(SETS):
        started = time.perf_counter_ns()
        write(number)
        between = time.perf_counter_ns()
        read(number)
        took[0].append(between - started)
        took[1].append(time.perf_counter_ns() - between)
    writes = sorted(took[0])
    return [median(writes) / 1e3, writes[int(SETS * 0.99)] / 1e3, median(took[1]) / 1e3]


def _one_process(directory: str, size_bytes: int) -> None:
    plain = sqlite3.connect(Path(directory) / "plain.sqlite3", isolation_level=None)
    plain.execute("PRAGMA synchronous=NORMAL")
    held: dict[str, str] = {}
    with SessionStateManager(directory, "bench") as state:
        p50, p99, get = _took_us(
            lambda number: state.set(("one", str(number % 50)), number),
            lambda number: state.get(("one", str(number % 50))),
        )
    floors = [
        _took_us(
            lambda number: plain.execute(
                "INSERT OR REPLACE INTO nodes VALUES (?, ?)", (f"one.{number % 50}", str(number))
            ),
            lambda number: plain.execute(
                "SELECT value FROM nodes WHERE path = ?", (f"one.{number % 50}",)
            ).fetchone(),
        ),
        _took_us(
            lambda number: held.__setitem__(f"one.{number % 50}", json.dumps(number)),
            lambda number: json.loads(held[f"one.{number % 50}"]),
        ),
    ]
    plain.close()
    print(
        f"{size_bytes:12,} {p50:8.0f} {p99:8.0f}",
        *(f"{p50 / floor[0]:9.1f}x" for floor in floors),
        f"{get:8.0f}",
        *(f"{get / floor[2]:9.1f}x" for floor in floors),
        flush=True,
    )


def main() -> None:
    """Prints two tables."""
    print("state bytes   set us      p99     plain       dict   get us     plain       dict")
    for size_bytes in SIZES_BYTES:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["ORCHWATCH_HOME"] = f"{directory}/home"
            _fill(directory, size_bytes)
            _one_process(directory, size_bytes)
    for size_bytes in WRITTEN_BYTES:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["ORCHWATCH_HOME"] = f"{directory}/home"
            _fill(directory, size_bytes)
            print(f"\nstate of {size_bytes:,} bytes")
            print("writers   sets/s   plain SQLite   ratio   the same, recorded   ratio")
            for writers in WRITERS:
                plain = _sets_a_second(_PLAIN, directory, writers)
                ours = _sets_a_second(_OURS, directory, writers)
                recorded = _sets_a_second(_RECORDED, directory, writers)
                print(
                    f"{writers:7} {ours:8,.0f} {plain:14,.0f} {ours / plain:7.2f} "
                    f"{recorded:20,.0f} {ours / recorded:7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
