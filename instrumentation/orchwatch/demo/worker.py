"""What an agent's process runs: take a batch of source files, read them, report their symbols.

A hook is asked first, here as in any agent: before a tool is used, by the one who uses it. Asked by
the supervisor, every agent would wait for the others' hooks.
"""

from __future__ import annotations

import queue
import socket
import sys
import time

from orchwatch import semconv
from orchwatch.demo import policy, symbols
from orchwatch.demo.crew import REFUSAL, REPORT
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach
from orchwatch.runtime import hooks
from orchwatch.runtime.agents import say_ready
from orchwatch.runtime.messages import Channel, DeliveryError, Message

SUPERVISOR = "supervisor"


def work(connection: socket.socket, session_id: str) -> None:
    """Serve one batch after the other until the supervisor hangs up.

    Args:
        connection: The line to the supervisor.
        session_id: The session of this agent; part of its hooks' input.

    Raises:
        DeliveryError: The supervisor was gone before a report reached it.
    """
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    channel = Channel(connection, SUPERVISOR, inbox.put)
    say_ready()
    while (message := inbox.get()) is not None:
        with attach(message.headers):
            _serve(message, channel, session_id)


def _serve(message: Message, channel: Channel, session_id: str) -> None:
    task, files = message.body["id"], message.body["files"]
    attributes = {semconv.GEN_AI_OPERATION_NAME: "invoke_agent", semconv.TASK_ID: task}
    with operation(semconv.AGENT_TASK, attributes) as op:
        use = {"session_id": session_id, "tool_name": "Read", "tool_input": {"files": files}}
        decision = hooks.process(policy.BATCH_POLICY, "PreToolUse", use)
        if decision.outcome == "blocked":
            op.fail("hook_blocked")
            channel.deliver(REFUSAL, {"id": task, "reason": decision.reason})
            return
        started = time.perf_counter()
        with operation(
            semconv.TOOL_EXECUTE,
            {semconv.GEN_AI_OPERATION_NAME: "execute_tool", semconv.GEN_AI_TOOL_NAME: "ast.parse"},
        ):
            modules = [symbols.read_module(file) for file in files]
        parse_s = time.perf_counter() - started
        reports = [symbols.as_report(module) for module in modules]
        channel.deliver(REPORT, {"id": task, "modules": reports, "parse_s": parse_s})


def main() -> int:
    """Serve the socket whose number is the first argument, for the session that is the second."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    try:
        work(connection, sys.argv[2])
    except DeliveryError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
