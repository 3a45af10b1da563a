"""What an agent's process runs: take a batch of source files, read them, report their symbols."""

from __future__ import annotations

import os
import queue
import socket
import sys
import time

from orchwatch import attach, names, operation
from orchwatch.runtime import symbols
from orchwatch.runtime.agents import READY, REPORT
from orchwatch.runtime.messages import Channel, DeliveryError, Message

SUPERVISOR = "supervisor"


def work(connection: socket.socket) -> None:
    """Serve one batch after the other until the supervisor hangs up.

    Raises:
        DeliveryError: The supervisor was gone before a report reached it.
    """
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    channel = Channel(connection, SUPERVISOR, inbox.put)
    with attach(os.environ):
        channel.deliver(READY, {"pid": os.getpid()})
    while (message := inbox.get()) is not None:
        with attach(message.headers):
            _serve(message, channel)


def _serve(message: Message, channel: Channel) -> None:
    task = message.body["id"]
    attributes = {names.GEN_AI_OPERATION_NAME: "invoke_agent", names.TASK_ID: task}
    with operation(names.AGENT_TASK, attributes):
        started = time.perf_counter()
        with operation(
            names.TOOL_EXECUTE,
            {names.GEN_AI_OPERATION_NAME: "execute_tool", names.GEN_AI_TOOL_NAME: "ast.parse"},
        ):
            modules = [symbols.read_module(file) for file in message.body["files"]]
        parse_s = time.perf_counter() - started
        reports = [symbols.as_report(module) for module in modules]
        channel.deliver(REPORT, {"id": task, "modules": reports, "parse_s": parse_s})


def main() -> int:
    """Serve the socket whose number is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    try:
        work(connection)
    except DeliveryError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
