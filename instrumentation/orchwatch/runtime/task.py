"""A task of a graph: how it is added, who works on it, how it is; and what goes wrong with one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orchwatch.errors import OrchwatchError

_MAX_ID_CHARACTERS = 200
_MAX_SHOWN = 12
_INT64_LIMIT = 1 << 63


class TaskError(OrchwatchError):
    """A task cannot be added, changed or found; the message names it and the rule."""


class CycleError(TaskError):
    """Tasks would wait for each other.

    Attributes:
        cycle: Their ids; each needs the next, and the last is the first again.
    """

    def __init__(self, cycle: tuple[str, ...]) -> None:
        shown = list(map(repr, cycle))
        if len(shown) > _MAX_SHOWN:
            left_out = len(shown) - _MAX_SHOWN
            half = _MAX_SHOWN // 2
            shown = [*shown[:half], f"({left_out} more)", *shown[-half:]]
        super().__init__(f"tasks would wait for each other: {' needs '.join(shown)}")
        self.cycle = cycle


class ClaimLostError(TaskError):
    """The task is no longer this claim's: it was finished, released or requeued meanwhile."""


@dataclass(frozen=True)
class NewTask:
    """A task to add; see `TaskGraph.add`."""

    id: str
    needs: tuple[str, ...] = ()
    priority: int = 0
    data: Any = None


@dataclass(frozen=True)
class Claim:
    """A task that a worker has claimed.

    Attributes:
        id: The task.
        data: What was added with it.
        attempt: 1 for the first claim of the task, one more for each that was lost or failed.
        agent: Who does it.
        number: The task's number in the graph.
    """

    id: str
    data: Any
    attempt: int
    agent: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """How a task is.

    Attributes:
        id: Its id.
        status: `waiting`, `ready`, `claimed`, `completed`, `failed` or `skipped`.
        needs: The ids of those that must be completed before.
        priority: The highest goes first.
        data: What was added with it.
        attempts: How often it was claimed.
        agent: Who has, or had, it.
        result: What it was finished with.
        reason: Why it was tried again, failed or skipped.
    """

    id: str
    status: str
    needs: tuple[str, ...]
    priority: int
    data: Any
    attempts: int
    agent: str
    result: Any
    reason: str


def check(task: NewTask) -> None:
    """Refuses what can be no task.

    Raises:
        TaskError: Its id, its priority or its data breaks a rule.
        CycleError: It needs itself.
    """
    for name in (task.id, *task.needs):
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_ID_CHARACTERS:
            raise TaskError(
                f"{name!r:.80} is no task's id: it must be a str of 1 to {_MAX_ID_CHARACTERS}"
                " characters"
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise TaskError(f"{name!r} is no task's id: half of a surrogate pair") from None
    priority = task.priority
    if type(priority) is not int or not -_INT64_LIMIT <= priority < _INT64_LIMIT:
        raise TaskError(
            f"task {task.id!r}: priority must be an int of 64 bits, not {priority!r:.80}"
        )
    if task.id in task.needs:
        raise CycleError((task.id, task.id))


def encode(task: str, what: str, value: Any) -> str:
    """A value as JSON.

    Raises:
        TaskError: It is none.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TaskError(f"task {task!r}: its {what} is not JSON: {error}") from error
    return text
