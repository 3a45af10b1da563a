"""What events and messages cost beside plain SQLite and a list: `make bench-runtime`.

Each floor writes rows to a file in WAL mode with the same durability, or keeps what it is given in
memory, in the same run: the ratio is what ids, checks, order, acknowledgement and the operation
that is recorded for each add.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from orchwatch.runtime.event import Event
from orchwatch.runtime.event_processing import EventSubscriber
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.message_bus import MessageBus

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.runtime.message import Message

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BATCH = 1_000
SINGLE = 2_000
READERS = (1, 4, 16)
MESSAGES = 2_000
_BODY = {"id": "task-17", "files": ["ast.py", "json/decoder.py"]}
_TABLE = "CREATE TABLE rows(number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)"

# Another process that answers each message it gets.
_ECHO = """
import sys
from pathlib import Path
from orchwatch.runtime.message_bus import MessageBus
with MessageBus(Path(sys.argv[1]), sys.argv[2]) as bus, bus.mailbox(sole_reader=True) as mailbox:
    print("ready", flush=True)
    mailbox.handle(lambda message: None, timeout_s=None, limit=int(sys.argv[3]))
"""


def _took_us(work: Callable[[int], object], count: int) -> float:
    """Microseconds for each of `count` calls, the median of as many as three runs in a row."""
    took = []
    for run in range(3):
        started_s = time.perf_counter()
        for number in range(run * count, (run + 1) * count):
            work(number)
        took.append((time.perf_counter() - started_s) / count * 1e6)
    return median(took)


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(_TABLE)
    return connection


def _event(number: int) -> Event:
    return Event("task.completed", "bench", {"n": number}, source="agent-1")


def _line(number: int) -> str:
    event = {"type": "task.completed", "session": "bench", "n": number, "source": "agent-1"}
    return json.dumps(event)


def _events(directory: Path) -> None:
    print("events    append us   in batches us   plain   in batches   dict   read us  handle us")
    with EventLog(directory / "events.sqlite3") as log:
        plain = _plain(directory / "plain.sqlite3")
        held: dict[int, str] = {}
        for size in SIZES:
            _fill(log, plain, size)
            one = _took_us(lambda number: log.append(_event(number)), SINGLE // 4)
            many = _took_us(lambda _: log.append(*map(_event, range(BATCH))), 3) / BATCH
            floor = _took_us(
                lambda number: plain.execute("INSERT INTO rows(text) VALUES (?)", (_line(number),)),
                SINGLE // 4,
            )
            floor_many = _took_us(lambda _: _insert(plain, BATCH), 3) / BATCH
            memory = _took_us(lambda number: held.__setitem__(number, _line(number)), BATCH)
            read, handled = _reading_us(log)
            print(
                f"{size:9,} {one:9.1f} {many:15.1f} {one / floor:6.1f}x {many / floor_many:10.1f}x "
                f"{one / memory:5.0f}x {read:9.1f} {handled:10.1f}",
                flush=True,
            )
        plain.close()


def _fill(log: EventLog, plain: sqlite3.Connection, size: int) -> None:
    missing = size - (log.last - log.first + 1)
    for _ in range(max(missing, 0) // BATCH):
        log.append(*map(_event, range(BATCH)))
        _insert(plain, BATCH)


def _insert(plain: sqlite3.Connection, count: int) -> None:
    plain.execute("BEGIN")
    plain.executemany(
        "INSERT INTO rows(text) VALUES (?)", [(_line(number),) for number in range(count)]
    )
    plain.execute("COMMIT")


def _reading_us(log: EventLog) -> tuple[float, float]:
    """To read an event from the middle of the log, and to handle and acknowledge one."""
    started_s = time.perf_counter()
    found = sum(1 for _ in log.read(log.last // 2, limit=BATCH))
    read = (time.perf_counter() - started_s) / max(found, 1) * 1e6
    subscriber = EventSubscriber(log, f"bench-{log.last}", after=log.last - SINGLE // 4)
    started_s = time.perf_counter()
    handled = subscriber.process(lambda _event: None)
    return read, (time.perf_counter() - started_s) / handled * 1e6


def _messages(directory: Path) -> None:
    print("\nmessages in one process")
    print("send us   handle us   plain   deque   p50 ms   p99 ms")
    plain = _plain(directory / "plain-messages.sqlite3")
    text = json.dumps(_BODY)
    held: deque[str] = deque()

    def pass_on(_number: int) -> None:
        plain.execute("INSERT INTO rows(text) VALUES (?)", (text,))
        (number,) = plain.execute("SELECT min(number) FROM rows").fetchone()
        json.loads(plain.execute("SELECT text FROM rows WHERE number = ?", (number,)).fetchone()[0])
        plain.execute("DELETE FROM rows WHERE number = ?", (number,))

    def in_memory(_number: int) -> None:
        held.append(json.dumps(_BODY))
        json.loads(held.popleft())

    floor, memory = _took_us(pass_on, MESSAGES // 4), _took_us(in_memory, MESSAGES)
    with MessageBus(directory / "bus.sqlite3", "bench") as bus:
        sent, handled, waits_s = _one_by_one(bus)
    print(
        f"{sent:7.1f} {handled:11.1f} {(sent + handled) / floor:6.1f}x "
        f"{(sent + handled) / memory:6.0f}x {median(waits_s) * 1e3:8.2f} "
        f"{sorted(waits_s)[int(len(waits_s) * 0.99)] * 1e3:8.2f}"
    )
    print("\nreaders   messages/s   plain", flush=True)
    for readers in READERS:
        floor_s = _took_us(pass_on, MESSAGES // 4) / 1e6
        with MessageBus(directory / f"bus-{readers}.sqlite3", "bench") as bus:
            rate = _rate(bus, readers)
        print(f"{readers:7} {rate:12,.0f} {rate * floor_s:6.2f}x", flush=True)
    plain.close()


def _one_by_one(bus: MessageBus) -> tuple[float, float, list[float]]:
    """To send and to handle a message here, and how long it takes from one to the other."""
    waits_s: list[float] = []
    with bus.mailbox() as mailbox:
        started_s = time.perf_counter()
        for _ in range(MESSAGES // 2):
            bus.send(bus.name, "task", _BODY)
        between_s = time.perf_counter()
        handled = mailbox.handle(lambda _message: None)
        took_s = time.perf_counter() - between_s

        def arrived(message: Message) -> None:
            waits_s.append((time.monotonic_ns() - message.body) / 1e9)

        for _ in range(MESSAGES // 4):
            bus.send(bus.name, "task", time.monotonic_ns())
            mailbox.handle(arrived)
    return (between_s - started_s) / handled * 1e6, took_s / handled * 1e6, waits_s


def _rate(bus: MessageBus, readers: int) -> float:
    """Messages a second, from this process to so many others."""
    each = MESSAGES // readers
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ECHO, str(bus.path), f"reader-{number}", str(each)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(readers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started_s = time.perf_counter()
    for _ in range(each):
        for number in range(readers):
            bus.send(f"reader-{number}", "task", _BODY)
    for process in processes:
        process.communicate()
    return each * readers / (time.perf_counter() - started_s)


def main() -> None:
    """Prints two tables; `x` is how many times as long as the floor."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["ORCHWATCH_HOME"] = f"{name}/home"
        _events(Path(name))
        _messages(Path(name))


if __name__ == "__main__":
    main()
