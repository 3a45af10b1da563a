"""How much the components have to deal with: 100 agents, 500 tasks and 1 MB of state."""

from __future__ import annotations

from typing import Any

# As the requirements' own benchmark has them.
AGENTS = 100
TASKS = 500
_STATUSES = ("pending", "active", "completed")
_DESCRIPTION = "Read the files, find what calls them and say what depends on it. "
_DESCRIPTION_LENGTH = 1780
# What the dashboard has to read: an hour of three operations a second.
OPERATIONS = 10_000


def state() -> dict[str, Any]:
    """A session's state of about 1 MB as JSON; the same every time."""
    description = (_DESCRIPTION * (_DESCRIPTION_LENGTH // len(_DESCRIPTION) + 1))[
        :_DESCRIPTION_LENGTH
    ]
    return {
        "agents": {
            agent(number): {
                "status": "busy" if number % 3 else "idle",
                "completed": number * 7,
                "starts": 1 + number % 4,
            }
            for number in range(AGENTS)
        },
        "tasks": {
            task(number): {
                "id": task(number),
                "status": _STATUSES[number % len(_STATUSES)],
                "agent": agent(number % AGENTS),
                "priority": number % 10,
                "needs": needs(number),
                "failures": 0,
                "description": description,
            }
            for number in range(TASKS)
        },
    }


def agent(number: int) -> str:
    """An agent's name."""
    return f"agent-{number:03}"


def task(number: int) -> str:
    """A task's id."""
    return f"task-{number:03}"


def needs(number: int) -> list[str]:
    """The tasks that must be done before: none for the first 100, then up to three."""
    if number < AGENTS:
        return []
    return sorted({task(number - AGENTS), task(number // 2), task(number // 3)})
