from __future__ import annotations

import json
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import attach, operation
from orchwatch.runtime import message_tables
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.message import (
    ClaimLostError,
    MailboxFullError,
    Message,
    MessageError,
)
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.testing import capture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.runtime.mailbox import Mailbox

    Start = Callable[..., subprocess.Popen[str]]
    Release = Callable[[list[subprocess.Popen[str]]], None]
    Open = Callable[[str], MessageBus]

LIMIT_S = 120.0
BUS = """
import os, sys
from pathlib import Path
from orchwatch.runtime.message_bus import MessageBus
bus = MessageBus(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.sqlite3"


@pytest.fixture
def join(path: Path) -> Iterator[Open]:
    opened = []

    def join(name: str) -> MessageBus:
        opened.append(MessageBus(path, name))
        return opened[-1]

    yield join
    for bus in opened:
        bus.close()


def bodies(mailbox: Mailbox, **how: Any) -> list[Any]:
    found: list[Any] = []
    mailbox.handle(lambda message: found.append(message.body), **how)
    return found


def received(mailbox: Mailbox, timeout_s: float = LIMIT_S) -> Message:
    message = mailbox.receive(timeout_s)
    assert message is not None
    return message


def test_a_message_goes_to_one_mailbox_and_arrives_as_it_was(join: Open) -> None:
    mine, other = join("agent-1").mailbox(), join("agent-2").mailbox()
    body: dict[str, Any] = {"text": "ä\ud800\n" * 1000, "list": [1, 2.5, None, True, {"a": {}}]}
    number = join("planner").send("agent-1", "task", body)
    message = received(mine)
    assert (message.number, message.sender, message.kind) == (number, "planner", "task")
    assert (message.body, message.topic, message.tries) == (body, "", 1)
    assert 0 <= time.time_ns() - message.sent_ns < LIMIT_S * 1e9
    assert other.receive() is None


def test_a_topic_reaches_those_who_have_it_and_a_broadcast_all_others(join: Open) -> None:
    boxes = [join(f"agent-{n}").mailbox(["builds"] if n < 2 else []) for n in range(3)]
    sender = join("agent-0")
    assert sender.publish("builds", "done", 1) == 2
    assert sender.publish("nobody.listens", "done", 2) == 0
    assert sender.broadcast("stop", 3) == 2
    boxes[2].subscribe("builds")
    boxes[1].unsubscribe("builds")
    assert sender.publish("builds", "done", 4) == 2
    assert [bodies(box) for box in boxes] == [[1, 4], [1, 3], [3, 4]]


def test_a_message_waits_for_a_reader_that_comes_later(join: Open) -> None:
    join("agent-1").mailbox().close()
    join("planner").send("agent-1", "task", 7)
    assert bodies(join("agent-1").mailbox()) == [7]


def test_what_is_acknowledged_never_comes_again_and_what_is_not_does(join: Open) -> None:
    mailbox = join("agent-1").mailbox(visible_after_s=0.05)
    planner = join("planner")
    for number in range(3):
        planner.send("agent-1", "task", number)
    mailbox.acknowledge(received(mailbox))
    first = received(mailbox)
    assert mailbox.receive() is None  # the next must not overtake it
    again = received(mailbox)
    assert (first.body, again.body, again.tries) == (1, 1, 2)
    with pytest.raises(ClaimLostError, match=f"message {first.number} from planner is not"):
        mailbox.acknowledge(first)
    mailbox.acknowledge(again)
    with pytest.raises(ClaimLostError):
        mailbox.acknowledge(again)
    assert bodies(mailbox) == [2]


def test_a_reader_that_needs_longer_says_so(join: Open) -> None:
    mailbox, other = (join("agent-1").mailbox(visible_after_s=0.4) for _ in range(2))
    join("planner").send("agent-1", "task")
    message = received(mailbox)
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        mailbox.extend(message)
        assert other.receive(0.01) is None
    mailbox.acknowledge(message)


def test_a_mailbox_that_is_closed_gives_back_what_it_held_at_once(join: Open) -> None:
    with join("agent-1").mailbox() as mailbox:
        join("planner").send("agent-1", "task", 7)
        received(mailbox)
    message = received(join("agent-1").mailbox())
    assert (message.body, message.tries) == (7, 1)


def test_a_sole_reader_gets_at_once_what_one_before_it_had_not_acknowledged(join: Open) -> None:
    before = join("agent-1").mailbox()
    for number in range(2):
        join("planner").send("agent-1", "task", number)
    held = received(before)
    now = join("agent-1").mailbox(sole_reader=True)
    message = received(now)
    assert (message.body, message.tries) == (0, 2)
    with pytest.raises(ClaimLostError):
        before.acknowledge(held)
    now.acknowledge(message)
    assert bodies(now) == [1]


def test_two_readers_of_a_mailbox_share_what_comes_each_sender_in_order(join: Open) -> None:
    one, two = (join("agent-1").mailbox() for _ in range(2))
    for number in range(2):
        for sender in ("a", "b"):
            join(sender).send("agent-1", "task", number)
    first, second = received(one), received(two)
    assert {(m.sender, m.body) for m in (first, second)} == {("a", 0), ("b", 0)}
    assert one.receive() is None
    one.acknowledge(first)
    third = received(two)
    assert (third.sender, third.body) == (first.sender, 1)


def test_a_message_that_fails_is_tried_again_and_then_dies_with_its_last_error(
    join: Open,
) -> None:
    mailbox = join("agent-1").mailbox(max_tries=3)
    planner = join("planner")
    planner.send("agent-1", "task", {"id": "t1"})
    planner.send("agent-1", "task", {"id": "t2"})
    tried: list[tuple[str, int]] = []

    def work(message: Message) -> None:
        tried.append((message.body["id"], message.tries))
        if message.body["id"] == "t1":
            raise ValueError(f"try {message.tries}")

    while len(tried) < 4:
        mailbox.handle(work, timeout_s=1, limit=1)
    assert tried == [("t1", 1), ("t1", 2), ("t1", 3), ("t2", 1)]
    (letter,) = planner.dead_letters()
    assert (letter.mailbox, letter.sender, letter.kind) == ("agent-1", "planner", "task")
    assert (letter.body, letter.tries, letter.error) == ({"id": "t1"}, 3, "ValueError: try 3")
    totals = planner.totals()["(direct)"]
    assert (totals.sent, totals.delivered, totals.dead, totals.lost) == (2, 1, 1, 0)


def test_a_message_whose_readers_die_dies_too(join: Open) -> None:
    mailbox = join("agent-1").mailbox(visible_after_s=0.02, max_tries=2)
    join("planner").send("agent-1", "task", 1)
    join("planner").send("agent-1", "task", 2)
    assert received(mailbox).tries == 1
    assert received(mailbox).tries == 2
    assert received(mailbox).body == 2
    (letter,) = join("planner").dead_letters()
    assert (letter.body, letter.error) == (1, "not acknowledged within 0.02 s")


def test_no_more_dead_letters_are_kept_than_a_bound(
    join: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_tables, "MAX_DEAD_LETTERS", 3)
    mailbox = join("agent-1").mailbox(max_tries=1)
    for number in range(5):
        join("planner").send("agent-1", "task", number)
        mailbox.reject(received(mailbox), "no")
    assert [letter.body for letter in join("planner").dead_letters()] == [2, 3, 4]


def test_a_full_mailbox_refuses_or_is_waited_for(join: Open) -> None:
    mailbox = join("agent-1").mailbox(["builds"], capacity=2)
    other = join("agent-2").mailbox(["builds"])
    planner = join("planner")
    planner.send("agent-1", "task", 1)
    planner.send("agent-1", "task", 2)
    with pytest.raises(
        MailboxFullError,
        match="agent-1: its mailbox is full, 2 messages are unread; refused at once",
    ) as refused:
        planner.send("agent-1", "task", 3)
    assert refused.value.mailbox == "agent-1"
    with pytest.raises(MailboxFullError, match=r"unread; after 0\.05 s of waiting"):
        planner.publish("builds", "done", 3, wait_s=0.05)
    assert other.receive() is None  # all of them or none
    reader = threading.Timer(0.1, lambda: mailbox.acknowledge(received(mailbox)))
    reader.start()
    planner.send("agent-1", "task", 4, wait_s=LIMIT_S)
    reader.join()
    assert bodies(mailbox) == [2, 4]
    assert planner.totals()["(direct)"].sent == 3


def test_a_full_mailbox_that_nobody_reads_does_not_hold_up_the_others(join: Open) -> None:
    gone = join("agent-1").mailbox(["builds"], capacity=2)
    other = join("agent-2").mailbox(["builds"])
    planner = join("planner")
    for number in (1, 2):
        planner.broadcast("note", number)
    with pytest.raises(MailboxFullError):  # it may be read yet
        planner.broadcast("note", 3)
    gone.close()
    planner.broadcast("note", 3)
    planner.publish("builds", "done", 4)
    with pytest.raises(MailboxFullError):  # its sender can know
        planner.send("agent-1", "task", 5)
    assert bodies(other) == [1, 2, 3, 4]
    letters = planner.dead_letters()
    assert [(letter.mailbox, letter.body) for letter in letters] == [("agent-1", 1), ("agent-1", 2)]
    assert {letter.error for letter in letters} == {"the mailbox is full, and nobody reads it"}
    assert planner.totals()["(broadcast)"].dead == 2
    again = join("agent-1").mailbox(capacity=2)
    assert bodies(again) == [3, 4]


def test_sending_to_a_mailbox_that_is_not_there_is_an_error(join: Open) -> None:
    with pytest.raises(MessageError, match="there is no mailbox 'agent-9' on this bus"):
        join("planner").send("agent-9", "task")


def test_a_mailbox_that_is_removed_loses_what_was_unread_and_says_so(join: Open) -> None:
    mailbox = join("agent-1").mailbox(["builds"])
    planner = join("planner")
    planner.send("agent-1", "task")
    planner.publish("builds", "done")
    planner.publish("builds", "done")
    assert bodies(mailbox, limit=1) == [None]
    assert mailbox.remove() == 2
    assert {label: (t.sent, t.delivered, t.lost) for label, t in planner.totals().items()} == {
        "(direct)": (1, 1, 0),
        "builds": (2, 0, 2),
    }
    assert planner.unread() == {}
    assert planner.publish("builds", "done") == 0


@pytest.mark.own_names
def test_the_delivery_is_one_operation_from_send_to_handler_in_the_sender_s_trace(
    join: Open, spans: Callable[[], list[dict[str, Any]]], home: Path
) -> None:
    mailbox = join("agent-1").mailbox()
    with operation("sending"):
        join("planner").send("agent-1", "task", {}, baggage={"gen_ai.agent.name": "agent-1"})
    time.sleep(0.05)

    def work(_message: Message) -> None:
        with operation("handling"):
            pass

    assert mailbox.handle(work) == 1
    by_name = {span["name"]: span for span in spans()}
    delivery, handling = by_name["message.deliver"], by_name["handling"]
    assert delivery["parent"] == by_name["sending"]["id"]
    assert (handling["trace"], handling["parent"]) == (delivery["trace"], delivery["id"])
    assert handling["gen_ai.agent.name"] == "agent-1"
    assert delivery["messaging.destination.name"] == "agent-1"
    assert delivery["orchestration.message.sender"] == "planner"
    (line,) = (
        span
        for file in (home / "spool").glob("operations-*.jsonl")
        for written in file.read_text().splitlines()
        for scope in json.loads(written)["resourceSpans"][:1]
        for span in scope["scopeSpans"][0]["spans"]
        if span["name"] == "message.deliver"
    )
    took_s = (int(line["endTimeUnixNano"]) - int(line["startTimeUnixNano"])) / 1e9
    assert 0.05 <= took_s < LIMIT_S


def test_a_received_message_s_headers_continue_the_trace(join: Open) -> None:
    mailbox = join("agent-1").mailbox()
    with capture() as captured:
        with operation("sending"):
            join("planner").send("agent-1", "task")
        message = received(mailbox)
        with attach(message.headers), operation("handling"):
            pass
    sending, delivery, handling = captured.operations
    assert delivery.parent_span_id == sending.span_id
    assert handling.parent_span_id == delivery.span_id
    assert len({one.trace_id for one in captured.operations}) == 1


@pytest.mark.parametrize(("row", "late"), [("target_s = 0.001", 1), ("target_s = 3600", 0)])
def test_what_is_later_than_the_table_allows_is_counted_once(
    join: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, late: int
) -> None:
    (tmp_path / "own.toml").write_text(f'[operations."message.deliver"]\n{row}\n')
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(tmp_path / "own.toml"))
    mailbox, planner = join("agent-1").mailbox(), join("planner")
    planner.send("agent-1", "task")
    time.sleep(0.01)
    mailbox.reject(received(mailbox), "again")
    mailbox.acknowledge(received(mailbox))
    totals = planner.totals()["(direct)"]
    assert (totals.delivered, totals.late) == (1, late)


def test_a_table_that_the_user_broke_stops_no_message(
    join: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.toml").write_text("[operations")
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(tmp_path / "own.toml"))
    mailbox = join("agent-1").mailbox()
    join("planner").send("agent-1", "task", 7)
    assert bodies(mailbox) == [7]


def test_processes_at_once_lose_nothing_and_keep_each_sender_s_order(
    join: Open, path: Path, start_python: Start, release: Release
) -> None:
    mailbox = join("agent-1").mailbox(capacity=50)
    code = (
        BUS + "sys.stdin.readline()\nfor n in range(100): bus.send('agent-1', 'n', n, wait_s=100)\n"
    )
    senders = [start_python(code, path, f"sender-{n}") for n in range(4)]
    by: dict[str, list[int]] = {}
    reader = threading.Thread(
        target=mailbox.handle,
        args=(lambda message: by.setdefault(message.sender, []).append(message.body),),
        kwargs={"timeout_s": LIMIT_S, "limit": 400},
    )
    reader.start()
    release(senders)
    reader.join(LIMIT_S)
    assert by == {f"sender-{n}": list(range(100)) for n in range(4)}
    assert join("planner").totals()["(direct)"].delivered == 400


def test_a_reader_in_another_process_is_woken(join: Open, path: Path, start_python: Start) -> None:
    process = start_python(
        BUS + "with bus.mailbox() as mailbox:\n    print('open', flush=True)\n"
        "    mailbox.handle(lambda m: print(m.body, flush=True), timeout_s=None, limit=3)\n",
        path,
        "agent-1",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    for number in range(3):
        join("planner").send("agent-1", "n", number)
        assert process.stdout.readline() == f"{number}\n"
    process.wait(LIMIT_S)


def test_a_child_process_sends_and_reads_by_itself(path: Path, start_python: Start) -> None:
    process = start_python(
        BUS + "mailbox = bus.mailbox()\nbus.send('agent-1', 'n', 0)\nmessage = mailbox.receive()\n"
        "child = os.fork()\n"
        "if child == 0:\n    bus.send('agent-1', 'n', 1)\n    mailbox.close()\n    bus.close()\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\nmailbox.acknowledge(message)\n"
        "print(mailbox.receive(10).body)\n",
        path,
        "agent-1",
    )
    assert process.communicate(timeout=LIMIT_S) == ("1\n", "")


def _of_events(path: Path) -> None:
    with EventLog(path):
        pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_of_events, "holds no message bus that this version of orchwatch knows"),
        (lambda path: path.write_text("hello" * 1000), "file is not a database"),
        (lambda path: path.mkdir(), "cannot be opened: it is a directory, not a file"),
    ],
)
def test_a_file_that_is_no_bus_is_one_clear_error(
    path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    with pytest.raises(MessageError, match=reason):
        MessageBus(path, "agent-1")


@pytest.mark.parametrize("name", ["", None, 7, "a b", "a\n", "ä", "-a", "x" * 129, "\ud800"])
def test_a_name_that_is_none_is_refused_in_one_line(join: Open, path: Path, name: Any) -> None:
    bus = join("agent-1")
    mailbox = bus.mailbox()
    for use in (
        lambda: MessageBus(path, name),
        lambda: bus.send(name, "task"),
        lambda: bus.send("agent-1", name),
        lambda: bus.publish(name, "task"),
        lambda: bus.broadcast(name),
        lambda: bus.mailbox([name]),
        lambda: mailbox.subscribe(name),
        lambda: mailbox.unsubscribe(name),
    ):
        with pytest.raises(MessageError, match="must be 1 to 128 letters") as raised:
            use()
        assert str(raised.value).isprintable()


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize("body", [{1, 2}, float("nan"), b"bytes", _circle(), object()])
def test_a_body_that_is_no_json_is_refused(join: Open, body: object) -> None:
    join("agent-1").mailbox()
    with pytest.raises(MessageError, match="a task message: its body is not JSON"):
        join("planner").send("agent-1", "task", body)
    assert join("planner").unread() == {"agent-1": 0}


def test_a_body_that_is_too_large_is_refused(join: Open) -> None:
    join("agent-1").mailbox()
    with pytest.raises(MessageError, match="at most 67108864 are sent"):
        join("planner").send("agent-1", "task", "x" * 67_108_864)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("capacity", value) for value in (0, -1, 1.5, True, "9")),
        *(("max_tries", value) for value in (0, None, 2.0)),
        *(("visible_after_s", value) for value in (0, -1, float("nan"), float("inf"))),
    ],
)
def test_a_bound_that_is_none_is_refused(join: Open, name: str, value: Any) -> None:
    with pytest.raises(MessageError, match=f"{name} must be"):
        join("agent-1").mailbox(**{name: value})


@pytest.mark.parametrize("wait_s", [-1, float("nan")])
def test_a_wait_that_is_none_is_refused(join: Open, wait_s: float) -> None:
    join("agent-1").mailbox()
    with pytest.raises(MessageError, match="wait_s must be 0 or more"):
        join("planner").send("agent-1", "task", wait_s=wait_s)


@pytest.mark.parametrize("damage", ["body = '{'", "headers = '['", "body = x'00ff'"])
def test_a_message_that_the_file_no_longer_holds_whole_holds_up_no_other(
    join: Open, path: Path, damage: str
) -> None:
    mailbox = join("agent-1").mailbox()
    for number in range(2):
        join("planner").send("agent-1", "task", number)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE messages SET {damage} WHERE number = 1")
    connection.close()
    assert bodies(mailbox) == [1]
    (letter,) = join("planner").dead_letters()
    assert letter.error == "the file does not hold it as it was sent"


def test_a_claim_from_before_the_last_boot_blocks_no_one(join: Open, path: Path) -> None:
    mailbox = join("agent-1").mailbox()
    join("planner").send("agent-1", "task")
    received(mailbox)
    day_ns = 86_400_000_000_000
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        f"UPDATE lanes SET since_ns = since_ns + {day_ns}, until_ns = until_ns + {day_ns}"
    )
    connection.execute(
        "UPDATE messages SET boot = 'before', clock_ns = 0, sent_ns = sent_ns - 5000000000"
    )
    connection.close()
    with capture() as captured:
        assert received(mailbox).tries == 2
    (delivery,) = captured.operations
    assert 5 <= delivery.duration_s < LIMIT_S
