from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from orchwatch import attach, operation
from orchwatch.runtime import messages
from orchwatch.runtime.messages import Channel, DeliveryError, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 60.0

# A peer in another process: acknowledges, answers each message with its own pid, until the end.
ECHO = """
import os, queue, socket, sys
from orchwatch.runtime import messages
from orchwatch.runtime.messages import Channel
inbox = queue.SimpleQueue()
channel = Channel(socket.socket(fileno=int(sys.argv[1])), "parent", inbox.put)
while (message := inbox.get()) is not None:
    channel.deliver("echo", {"pid": os.getpid(), **message.body})
"""


class End:
    """One end of a channel and what arrived there."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.channel = Channel(connection, peer, self.inbox.put)

    def received(self) -> Message | None:
        return self.inbox.get(timeout=TIMEOUT_S)


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    ours, theirs = socket.socketpair()
    pair = End(ours, "theirs"), End(theirs, "ours")
    yield pair
    for end in pair:
        end.channel.close()


@pytest.fixture
def process() -> Iterator[tuple[End, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair()
    with theirs:
        peer = subprocess.Popen(
            [sys.executable, "-c", ECHO, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
    end = End(ours, "echo")
    yield end, peer
    end.channel.close()
    peer.kill()
    peer.wait()


def test_a_message_arrives_whole_in_another_process(
    process: tuple[End, subprocess.Popen[bytes]],
) -> None:
    end, peer = process
    body = {"text": "ä" * 2_000_000, "numbers": [1, 2.5, None, True]}
    end.channel.deliver("task", body)
    answer = end.received()
    assert answer is not None
    assert answer.body == {"pid": peer.pid, **body}


def test_both_ends_may_send_at_once(ends: tuple[End, End]) -> None:
    senders = [
        threading.Thread(target=lambda e=end: [e.channel.deliver("n", {"n": n}) for n in range(50)])
        for end in ends
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(TIMEOUT_S)
    for end in ends:
        numbers = [message.body["n"] for _ in range(50) if (message := end.received())]
        assert numbers == list(range(50))


def test_the_receiver_continues_the_trace_of_the_sender(
    ends: tuple[End, End], spans: Callable[[], list[dict[str, object]]]
) -> None:
    ours, theirs = ends
    with operation("sending"):
        ours.channel.deliver("task", {}, {"gen_ai.agent.name": "agent-7"})
    message = theirs.received()
    assert message is not None
    with attach(message.headers), operation("handling"):
        pass
    by_name = {span["name"]: span for span in spans()}
    delivery, handling = by_name["message.deliver"], by_name["handling"]
    assert delivery["parent"] == by_name["sending"]["id"]
    assert (handling["trace"], handling["parent"]) == (delivery["trace"], delivery["id"])
    assert handling["gen_ai.agent.name"] == "agent-7"
    assert delivery["messaging.destination.name"] == "theirs"


def test_a_peer_that_hangs_up_is_an_error_and_noticed(
    ends: tuple[End, End], spans: Callable[[], list[dict[str, object]]]
) -> None:
    ours, theirs = ends
    theirs.channel.close()
    assert ours.received() is None
    with pytest.raises(DeliveryError, match="theirs"):
        ours.channel.deliver("task", {})
    (span,) = spans()
    assert (span["name"], span["failed"]) == ("message.deliver", True)
    assert str(span["error.type"]).endswith("DeliveryError")


def test_a_peer_that_is_killed_while_we_wait_is_an_error(
    process: tuple[End, subprocess.Popen[bytes]],
) -> None:
    end, peer = process
    end.channel.deliver("task", {})
    assert end.received() is not None
    peer.send_signal(signal.SIGSTOP)
    os.waitpid(peer.pid, os.WUNTRACED)  # until it has stopped
    threading.Timer(0.2, peer.kill).start()
    with pytest.raises(DeliveryError, match="echo is gone"):
        end.channel.deliver("task", {})
    assert end.received() is None


def test_a_peer_that_does_not_acknowledge_in_time_is_an_error(
    process: tuple[End, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, peer = process
    end.channel.deliver("task", {})
    monkeypatch.setattr(messages, "ACKNOWLEDGE_TIMEOUT_S", 0.1)
    peer.send_signal(signal.SIGSTOP)
    os.waitpid(peer.pid, os.WUNTRACED)  # until it has stopped
    with pytest.raises(DeliveryError, match="did not acknowledge"):
        end.channel.deliver("task", {})


def test_noise_on_the_line_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    end = End(ours, "noise")
    with theirs:
        theirs.sendall(b"\x00\x00\x00\x04null" + b"\xff" * 64)
        assert end.received() is None
    end.channel.close()
