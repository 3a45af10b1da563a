"""What an agent's process runs: claim what is ready, do it, say what came of it.

A hook is asked first, here as in any agent: before a tool is used, by the one who uses it. Asked by
the supervisor, every agent would wait for the others' hooks.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.demo import policy, symbols
from orchwatch.demo.crew import IDLE, LEAVE, REFUSAL, REPORT, STARTED
from orchwatch.demo.session import SUPERVISOR, Session
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach
from orchwatch.runtime import hooks
from orchwatch.runtime.readiness import say_ready
from orchwatch.runtime.task import ClaimLostError

if TYPE_CHECKING:
    from orchwatch.runtime.task import Claim

READ = "read"
SUM = "sum"


class _RefusedError(Exception):
    """A hook does not let the agent do it."""


def work(session: Session) -> None:
    """Do what is ready until the supervisor asks to leave.

    Args:
        session: Under this agent's name.

    Raises:
        OrchwatchError: The session cannot be used.
    """
    with session.bus.mailbox(sole_reader=True) as mailbox:
        session.record("agent.ready", agent=session.name, pid=os.getpid())
        say_ready()
        while True:
            while (claim := session.tasks.claim(session.name)) is not None:
                with attach(claim.data["headers"]):
                    _do(claim, session)
            session.bus.send(SUPERVISOR, IDLE)
            message = mailbox.receive(None)
            if message is None:
                continue
            mailbox.acknowledge(message)
            if message.kind == LEAVE:
                return


def _do(claim: Claim, session: Session) -> None:
    """One task; killed anywhere before it is finished, it is done again, with the same results."""
    attributes = {semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_AGENT, semconv.TASK_ID: claim.id}
    with operation(semconv.AGENT_TASK, attributes) as op:
        session.record("task.started", id=claim.id, agent=session.name, pid=os.getpid())
        started_s = time.perf_counter()
        try:
            if claim.data["kind"] == READ:
                _read(claim, session)
            else:
                _sum(claim, session)
        except _RefusedError as refused:
            op.fail("hook_blocked")
            session.bus.send(SUPERVISOR, REFUSAL, {"id": claim.id, "reason": str(refused)})
            return
        took_s = time.perf_counter() - started_s
        session.record("task.completed", id=claim.id, agent=session.name, took_s=took_s)
        try:
            session.tasks.finish(claim)
        except ClaimLostError:
            # Another process was asked to do it meanwhile; what it finds is the same.
            return
        session.bus.send(SUPERVISOR, REPORT, {"id": claim.id})


def _read(claim: Claim, session: Session) -> None:
    files = claim.data["files"]
    use = {"session_id": session.id, "tool_name": "Read", "tool_input": {"files": files}}
    decision = hooks.process(policy.BATCH_POLICY, "PreToolUse", use)
    if decision.outcome == "blocked":
        raise _RefusedError(decision.reason)
    session.bus.send(SUPERVISOR, STARTED, {"id": claim.id})
    with operation(
        semconv.TOOL_EXECUTE,
        {
            semconv.GEN_AI_OPERATION_NAME: semconv.EXECUTE_TOOL,
            semconv.GEN_AI_TOOL_NAME: "ast.parse",
        },
    ):
        modules = {file: asdict(symbols.read(file)) for file in files}
    session.record("batch.read", id=claim.id, modules=modules)


def _sum(claim: Claim, session: Session) -> None:
    """Over the batches that the task needs, or over the sums: what other agents have written."""
    answers = session.queries.bulk_query(claim.data["paths"])
    totals = symbols.Totals()
    for found in answers.values():
        for counts in found:
            totals.add(symbols.totals(counts))
    session.record("section.summed", id=claim.id, counts=asdict(totals))


def main() -> int:
    """Serve under the name that is the third argument, in a workspace, for a session."""
    root, session_id, name = sys.argv[1:]
    try:
        with Session(Path(root), session_id, name) as session:
            work(session)
    except OrchwatchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
