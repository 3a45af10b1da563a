"""Messages: from the sender to the moment that another process begins to handle them."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.agent_process import ANSWER
from orchwatch.bench.case import Case, IterationError
from orchwatch.bench.components.agents import command, pool
from orchwatch.runtime.message_bus import MessageBus

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER_TIMEOUT_S = 30.0


class MessageDeliver(Case):
    """Sends one task after the other to an agent, over a bus that processes may share."""

    operation = semconv.MESSAGE_DELIVER

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        path = workspace / "messages.sqlite3"
        name, self._reader = f"sender-{os.getpid()}", f"reader-{os.getpid()}"
        self._bus = MessageBus(path, name)
        self._mailbox = self._bus.mailbox()
        self._pool = pool("message")
        self._pool.spawn(self._reader, command(ANSWER, str(path), self._reader, name))
        self._tasks = itertools.cycle(workload.state()["tasks"].values())

    def run(self) -> float:
        sent_ns = time.monotonic_ns()
        self._bus.send(self._reader, "task", next(self._tasks))
        answer = self._mailbox.receive(_ANSWER_TIMEOUT_S)
        if answer is None:
            raise IterationError(f"no answer within {_ANSWER_TIMEOUT_S:g} s")
        self._mailbox.acknowledge(answer)
        return float(answer.body["began_ns"] - sent_ns) / 1e9

    def close(self) -> None:
        self._pool.close()
        self._mailbox.close()
        self._bus.close()
