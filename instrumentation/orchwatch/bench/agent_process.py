"""What an agent of a benchmark runs: it acknowledges each message, and writes where it is told."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import sys

from orchwatch.recording.propagation import attach
from orchwatch.runtime.agents import READY
from orchwatch.runtime.messages import Channel, DeliveryError, Message

WRITE = "write"
WRITTEN = "written"


def main() -> int:
    """Serves the socket whose number is the first argument, until the other end hangs up."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    channel = Channel(connection, "bench", inbox.put)
    try:
        with attach(os.environ):
            channel.deliver(READY, {"pid": os.getpid()})
        while (message := inbox.get()) is not None:
            if message.kind == WRITE:
                _write(channel, message)
    except DeliveryError:
        return 1
    return 0


def _write(channel: Channel, message: Message) -> None:
    """Writes until it is killed, and says of each write that it was acknowledged."""
    from orchwatch.runtime.session_state import SessionStateManager  # noqa: PLC0415 - spawn is timed

    with SessionStateManager(message.body["root"], message.body["session"]) as state:
        for number in itertools.count(1):
            channel.deliver(WRITTEN, {"version": state.set("written", number)})


if __name__ == "__main__":
    sys.exit(main())
