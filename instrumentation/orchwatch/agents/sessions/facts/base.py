"""What every fact has, and the values that facts share.

Times are Unix nanoseconds. A fact may come twice, late, or from both sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, dataclass_transform

Source = Literal["file", "hook"]

AGENT_TOOLS = ("Task", "Agent")  # the calls that start a sub-agent: older and newer name
DEFAULT_AGENT = "general-purpose"  # the type when such a call names none
# Reasons for which something is closed unfinished.
INTERRUPTED = "interrupted"
SILENCE = "silence"
SESSION_ENDED = "session_ended"
KILLED = "killed"
NEXT_PROMPT = "next_prompt"
NO_START = "no_start_seen"
NO_END = "no_end_seen"

MICRO = "micro"  # the trigger of a compaction that takes no time

# Outcomes of such a call whose sub-agent goes on.
BACKGROUND = ("async_launched", "remote_launched", "teammate_spawned")


_Kind = TypeVar("_Kind")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(kind: type[_Kind]) -> type[_Kind]:
    """Makes a class of facts, which nobody changes.

    The type checker sees to that: at run time it would make each of them cost four times as much.
    """
    return dataclass(slots=True, kw_only=True)(kind)


@fact
class Fact:
    """What all facts have.

    Attributes:
        session_id: The agent's id of the session.
        time_ns: When it happened.
        source: Whether a session file or a hook reported it.
        prompt_id: The user's prompt that it belongs to, where that is known.
        agent_id: The sub-agent in which it happened, None for the main conversation.
        agent_turn: The prompt inside that sub-agent, where that is known.
        passive: It is no sign of life: it comes after a recorded end, or belongs to another
            turn.
    """

    session_id: str
    time_ns: int
    source: Source = "file"
    prompt_id: str | None = None
    agent_id: str | None = None
    agent_turn: str | None = None
    passive: bool = False
