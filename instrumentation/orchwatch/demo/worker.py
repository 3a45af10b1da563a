"""What an agent's process runs: take a batch of source files, read them, report their symbols.

A hook is asked first, here as in any agent: before a tool is used, by the one who uses it. Asked by
the supervisor, every agent would wait for the others' hooks.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.demo import policy, symbols
from orchwatch.demo.crew import LEAVE, REFUSAL, REPORT
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach
from orchwatch.runtime import hooks
from orchwatch.runtime.agents import say_ready
from orchwatch.runtime.message import MessageError
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.runtime.sessions import SUPERVISOR

if TYPE_CHECKING:
    from orchwatch.runtime.mailbox import Mailbox
    from orchwatch.runtime.message import Message


def work(bus: MessageBus, session_id: str) -> None:
    """Serve one batch after the other until the supervisor asks to leave.

    A thread takes what comes, so that a batch is delivered while another is worked on. What this
    process had taken when it was killed, the supervisor hands out again.

    Args:
        bus: The session's, under this agent's name.
        session_id: The session of this agent; part of its hooks' input.

    Raises:
        MessageError: The bus cannot be used.
    """
    inbox: queue.SimpleQueue[Message | MessageError] = queue.SimpleQueue()
    mailbox = bus.mailbox(sole_reader=True)
    threading.Thread(target=_take, args=(mailbox, inbox), name="messages", daemon=True).start()
    say_ready()
    while not isinstance(message := inbox.get(), MessageError):
        if message.kind == LEAVE:
            return
        with attach(message.headers):
            _serve(message, bus, session_id)
    raise message


def _take(mailbox: Mailbox, inbox: queue.SimpleQueue[Message | MessageError]) -> None:
    try:
        while (message := mailbox.receive(None)) is not None:
            mailbox.acknowledge(message)
            inbox.put(message)
            if message.kind == LEAVE:
                return
    except MessageError as error:
        inbox.put(error)


def _serve(message: Message, bus: MessageBus, session_id: str) -> None:
    task, files = message.body["id"], message.body["files"]
    attributes = {semconv.GEN_AI_OPERATION_NAME: "invoke_agent", semconv.TASK_ID: task}
    with operation(semconv.AGENT_TASK, attributes) as op:
        use = {"session_id": session_id, "tool_name": "Read", "tool_input": {"files": files}}
        decision = hooks.process(policy.BATCH_POLICY, "PreToolUse", use)
        if decision.outcome == "blocked":
            op.fail("hook_blocked")
            bus.send(SUPERVISOR, REFUSAL, {"id": task, "reason": decision.reason})
            return
        started = time.perf_counter()
        with operation(
            semconv.TOOL_EXECUTE,
            {semconv.GEN_AI_OPERATION_NAME: "execute_tool", semconv.GEN_AI_TOOL_NAME: "ast.parse"},
        ):
            modules = [symbols.read_module(file) for file in files]
        parse_s = time.perf_counter() - started
        reports = [symbols.as_report(module) for module in modules]
        bus.send(SUPERVISOR, REPORT, {"id": task, "modules": reports, "parse_s": parse_s})


def main() -> int:
    """Serve under the name that is the third argument, over a bus, for a session."""
    path, session_id, name = sys.argv[1:]
    try:
        with MessageBus(Path(path), name) as bus:
            work(bus, session_id)
    except MessageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
