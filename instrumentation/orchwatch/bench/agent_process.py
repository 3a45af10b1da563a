"""What an agent of a benchmark runs: it waits, answers messages, or works until it is killed."""

from __future__ import annotations

import itertools
import signal
import sys
import time

from orchwatch.runtime.readiness import say_ready

TYPE_CHECKING = False  # what `typing` costs would be part of each spawn
if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = "wait"
ANSWER = "answer"
WORK = "work"
# What one that works has done before it says that it is ready.
CLAIMS = 5
WRITES = 5
WRITTEN = "written"
# However often its agents are killed, no task of a benchmark is given up.
MAX_ATTEMPTS = 1_000_000


def wait() -> None:
    """Nothing, until it is ended."""
    say_ready()
    signal.pause()


def answer(bus_path: str, name: str, to: str) -> None:
    """Says of each message when its handling began, by the clock that processes share."""
    from pathlib import Path  # noqa: PLC0415 - how long a spawn takes

    from orchwatch.runtime.message_bus import MessageBus  # noqa: PLC0415

    with MessageBus(Path(bus_path), name) as bus, bus.mailbox() as mailbox:
        say_ready()
        while (message := mailbox.receive(None)) is not None:
            began_ns = time.monotonic_ns()
            mailbox.acknowledge(message)
            bus.send(to, "began", {"began_ns": began_ns})


def work(root: str, session: str) -> None:
    """Claims tasks, and then writes to the session's state for ever."""
    from orchwatch.runtime.session_state import SessionStateManager  # noqa: PLC0415 - as above
    from orchwatch.runtime.tasks import TaskGraph  # noqa: PLC0415

    with SessionStateManager(root, session) as state:
        graph = TaskGraph(state, max_attempts=MAX_ATTEMPTS)
        for _ in range(CLAIMS):
            graph.claim()
        for number in itertools.count(1):
            state.increment(WRITTEN)
            if number == WRITES:
                say_ready()


_ROLES: dict[str, Callable[..., None]] = {WAIT: wait, ANSWER: answer, WORK: work}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](*sys.argv[2:])
