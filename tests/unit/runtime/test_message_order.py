"""Whatever is done, and whoever is killed: nothing lost, doubled or overtaken.

ORCHWATCH_TEST_KILLS sets how many rounds of kills there are.
"""

from __future__ import annotations

import os
import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.message import MailboxFullError
from orchwatch.runtime.message_bus import MessageBus

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.runtime.mailbox import Mailbox
    from orchwatch.runtime.message import Message

    Start = Callable[..., subprocess.Popen[str]]

LIMIT_S = 120.0
NAMES = ("agent-0", "agent-1", "agent-2")
TOPIC = "t"


class World:
    """Three agents with two readers each, a planner, and what must have come of what they did."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.chance = chance
        self.buses = {name: MessageBus(path, name) for name in (*NAMES, "planner")}
        self.boxes = [
            self.buses[name].mailbox([TOPIC], max_tries=3, capacity=30)
            for name in NAMES
            for _ in range(2)
        ]
        self.sent: dict[tuple[str, str], list[int]] = {}
        self.done: dict[tuple[str, str], list[int]] = {}
        self.held: list[tuple[Mailbox, Message]] = []

    def send(self, number: int) -> None:
        sender = self.chance.choice(list(self.buses))
        bus = self.buses[sender]
        how = self.chance.randrange(6)
        try:
            if how == 0:
                to = [self.chance.choice(NAMES)]
                bus.send(to[0], "n", number)
            elif how == 1:
                to = list(NAMES)
                assert bus.publish(TOPIC, "n", number) == len(to)
            else:
                to = [name for name in NAMES if name != sender]
                assert bus.broadcast("n", number) == len(to)
        except MailboxFullError:
            return
        for name in to:
            self.sent.setdefault((sender, name), []).append(number)

    def receive(self) -> None:
        mailbox = self.chance.choice(self.boxes)
        message = mailbox.receive()
        if message is not None:
            lane = message.sender, mailbox.name
            assert lane not in {(held.sender, box.name) for box, held in self.held}
            self.held.append((mailbox, message))

    def finish(self) -> None:
        if not self.held:
            return
        mailbox, message = self.held.pop(self.chance.randrange(len(self.held)))
        if self.chance.random() < 0.7:
            mailbox.acknowledge(message)
            self.done.setdefault((message.sender, mailbox.name), []).append(message.body)
        else:
            mailbox.reject(message, "no")

    def check(self) -> None:
        planner = self.buses["planner"]
        died = {(one.sender, one.mailbox, one.body) for one in planner.dead_letters()}
        unread = dict.fromkeys(NAMES, 0)
        for (sender, name), numbers in self.sent.items():
            done = self.done.get((sender, name), [])
            alive = [number for number in numbers if (sender, name, number) not in died]
            assert done == alive[: len(done)]
            unread[name] += len(alive) - len(done)
        assert planner.unread() == unread
        totals = planner.totals().values()
        assert sum(one.sent for one in totals) == sum(map(len, self.sent.values()))
        assert sum(one.delivered for one in totals) == sum(map(len, self.done.values()))
        assert sum(one.dead for one in totals) == len(died)
        assert sum(one.lost for one in totals) == 0


@pytest.fixture(params=range(4))
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path / "bus.sqlite3", random.Random(request.param))
    yield made
    for bus in made.buses.values():
        bus.close()


def test_each_sender_s_order_is_kept_whatever_is_done(world: World) -> None:
    for number in range(400):
        if world.chance.random() < 0.4:
            world.send(number)
        else:
            world.chance.choice((world.receive, world.finish))()
    world.check()


BUS = """
import os, sys
from pathlib import Path
from orchwatch.runtime.message_bus import MessageBus
bus = MessageBus(Path(sys.argv[1]), sys.argv[2])
"""
SENDING = (
    BUS
    + """
number = int(sys.argv[3])
while True:
    bus.send("agent-1", "n", number, wait_s=100)
    print(number, flush=True)
    number += 1
"""
)
RECEIVING = (
    BUS
    + """
mailbox = bus.mailbox(visible_after_s=0.1, max_tries=1000)
while True:
    message = mailbox.receive(None)
    print("handled", message.sender, message.body, flush=True)
    mailbox.acknowledge(message)
    print("acknowledged", message.sender, message.body, flush=True)
"""
)


class Ledger:
    """What the processes have said."""

    def __init__(self) -> None:
        self.sent = {"a": 0, "b": 0}
        self.handled: list[tuple[str, int]] = []
        self.acknowledged: set[tuple[str, int]] = set()

    def take(self, line: str) -> None:
        what, sender, body = line.split()
        one = (sender, int(body))
        if what == "handled":
            assert one not in self.acknowledged
            self.handled.append(one)
        else:
            self.acknowledged.add(one)

    def note_sent(self, name: str, said: list[str], kept: int | None) -> None:
        """One may have been accepted and not been said."""
        accepted = self.sent[name] + len(said)
        self.sent[name] = max(accepted, 0 if kept is None else kept + 1)
        assert self.sent[name] - accepted in (0, 1)


def _newest(path: Path, sender: str) -> int | None:
    connection = sqlite3.connect(path)
    (newest,) = connection.execute(
        "SELECT max(CAST(body AS INTEGER)) FROM messages WHERE sender = ?", (sender,)
    ).fetchone()
    connection.close()
    return None if newest is None else int(newest)


def _lines(process: subprocess.Popen[str]) -> list[str]:
    """What it said before it was killed, whole lines only."""
    assert process.stdout is not None
    return process.stdout.read().split("\n")[:-1]


def _round(path: Path, start_python: Start, ledger: Ledger) -> None:
    senders = {name: start_python(SENDING, path, name, at) for name, at in ledger.sent.items()}
    receiver = start_python(RECEIVING, path, "agent-1")
    assert receiver.stdout is not None
    for _ in range(random.randint(1, 60)):
        ledger.take(receiver.stdout.readline())
    processes = [*senders.values(), receiver]
    random.shuffle(processes)
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(LIMIT_S)
    for line in _lines(receiver):
        ledger.take(line)
    for name, process in senders.items():
        ledger.note_sent(name, _lines(process), _newest(path, name))


def test_no_kill_loses_a_message_or_has_one_handled_after_it_was_acknowledged(
    tmp_path: Path, start_python: Start
) -> None:
    path = tmp_path / "bus.sqlite3"
    ledger = Ledger()
    with MessageBus(path, "agent-1") as bus:
        bus.mailbox(capacity=200).close()
        for _ in range(int(os.environ.get("ORCHWATCH_TEST_KILLS", "5"))):
            _round(path, start_python, ledger)
        with bus.mailbox(visible_after_s=0.1, max_tries=1000) as mailbox:
            mailbox.handle(lambda m: ledger.take(f"handled {m.sender} {m.body}"), timeout_s=1)
        for name, count in ledger.sent.items():
            of_it = [body for sender, body in ledger.handled if sender == name]
            firsts = list(dict.fromkeys(of_it))
            assert firsts in (list(range(count)), list(range(count + 1)))
        assert bus.dead_letters() == []
        totals = bus.totals()["(direct)"]
        assert totals.sent == totals.delivered == len(set(ledger.handled))
