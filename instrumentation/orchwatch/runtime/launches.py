"""How agents are started: their command, how they say that they are ready, what a pool allows."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchwatch.errors import OrchwatchError
from orchwatch.runtime import processes, settings

_SLICE_S = 0.1
_LINE_BYTES = 4096

EventKind = Literal["ready", "ended", "lost", "timeout", "failed"]


class AgentError(OrchwatchError):
    """An agent cannot be started; the message names it and the reason."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a pool allows.

    Attributes:
        agents: So many run at once; `spawn` waits for a place. By default as the settings say.
        ready_s: Seconds from a request until the agent must be ready, a wait for a place included.
        run_s: Seconds after which an agent that still runs is ended; None lets it run.
        restarts: So often in a row an agent is started again after it was lost.
        backoff_s: Seconds before the first of these; each next one waits twice as long.
        max_backoff_s: At most so long. An agent that ran longer than this begins anew.
        grace_s: Seconds between SIGTERM and SIGKILL.
    """

    agents: int = field(default_factory=lambda: settings.current().pool_size)
    ready_s: float = 10.0
    run_s: float | None = None
    restarts: int = 3
    backoff_s: float = 0.1
    max_backoff_s: float = 10.0
    grace_s: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (("agents", 1), ("restarts", 0)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise AgentError(f"{name} must be an int of at least {least}")
        for name in ("ready_s", "run_s", "backoff_s", "max_backoff_s", "grace_s"):
            value = getattr(self, name)
            if value is None and name == "run_s":
                continue
            if type(value) not in {int, float} or not 0 <= value <= threading.TIMEOUT_MAX:
                raise AgentError(f"{name} must be a finite number of seconds, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How one process of an agent is started.

    Attributes:
        command: Program and arguments; no shell is involved.
        environment: Added to this process's environment.
        pass_fds: Descriptors that the process has under the same numbers. They are closed here
            once it runs.
        announces: Whether it says that it is ready: by a line on the descriptor whose number is in
            `ORCHWATCH_READY_FD`. One that does not is ready as soon as its program runs.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    announces: bool = True


Start = Sequence[str] | Callable[[str], Launch]


@dataclass(frozen=True)
class AgentEvent:
    """Something that happened to an agent.

    Attributes:
        agent: Its name.
        kind: `ready`, also after a restart; `ended` with exit status 0, or as requested;
            `lost` otherwise, and started again; `timeout` where it ran too long, and started
            again; `failed` where it is not, after one of these.
        pid: Of the process that it is about.
        status: Its exit status, or minus the signal that ended it; None while it runs.
        reason: In words, where it did not become ready.
    """

    agent: str
    kind: EventKind
    pid: int
    status: int | None = None
    reason: str = ""


def not_ready(pid: int, says: int, deadline: float, stopping: threading.Event) -> str:
    """Why an agent is not ready; empty where it has said that it is."""
    waiting = select.poll()
    waiting.register(says, select.POLLIN)
    said = b""
    while b"\n" not in said:
        if stopping.is_set():
            return "was stopped before it was ready"
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return "did not become ready in time"
        # What it has started may hold the pipe open when it has ended itself.
        if not waiting.poll(min(_SLICE_S, left_s) * 1000):
            if processes.wait(pid, 0):
                return "ended before it was ready"
            continue
        said = os.read(says, _LINE_BYTES)
        if not said:
            return "did not become ready"
    return ""
