"""Which turn a hook's fact belongs to.

Hooks name the user's prompt by an id that older session files lack. The file's name for a turn is
the one that stays, since an import knows no other; so a hook's fact waits a moment for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchwatch.agents.sessions import ids, places
from orchwatch.agents.sessions.facts import (
    PermissionAsked,
    PromptSubmitted,
    ToolEnded,
    ToolStarted,
)

if TYPE_CHECKING:
    from orchwatch.agents.sessions.entities import Session
    from orchwatch.agents.sessions.facts import Fact

GRACE_NS = 5_000_000_000

_SAME_PROMPT_NS = 2_000_000_000
_MAX_NAMES = 1000


def place(session: Session, fact: Fact) -> Fact | None:
    """The fact under the turn's final name, or None while that has to be waited for."""
    prompt_id = fact.prompt_id
    if prompt_id is None or places.is_known(session, prompt_id):
        return fact
    if isinstance(fact, ToolStarted | ToolEnded | PermissionAsked):
        tool = session.tools.get(fact.tool_use_id)
        if tool and (tool.prompt_id or tool.agent_id):
            return replace(fact, prompt_id=tool.prompt_id)
        if ids.tool(session.session_id, fact.tool_use_id) in session.emitted:
            return replace(fact, prompt_id=None)
    if isinstance(fact, PromptSubmitted):
        session.asked_ns[prompt_id] = fact.time_ns
        _limit(session.asked_ns)
    alias = session.aliases.get(prompt_id) or _alias(session, prompt_id)
    return replace(fact, prompt_id=alias) if alias else None


def released(session: Session, now_ns: int) -> list[Fact]:
    """The facts whose turn has a name by now, or has waited long enough for one.

    All of a turn are released together: what ends something would else come before what began it.
    """
    if not session.held:
        return []
    held, session.held = session.held, []
    overdue = {fact.prompt_id for fact in held if now_ns - fact.time_ns >= GRACE_NS}
    free: list[Fact] = []
    for fact in held:
        placed = place(session, fact)
        if placed is None and fact.prompt_id in overdue:
            placed = fact
        if placed is None:
            session.held.append(fact)
        else:
            free.append(placed)
    return free


def _alias(session: Session, prompt_id: str) -> str | None:
    asked_ns = session.asked_ns.get(prompt_id)
    if asked_ns is None:
        return None
    near = [
        (abs(turn.start_ns - asked_ns), turn.prompt_id)
        for turn in session.turns.values()
        if turn.derived and turn.agent_id is None
    ]
    if not near or min(near)[0] > _SAME_PROMPT_NS:
        return None
    session.aliases[prompt_id] = min(near)[1]
    _limit(session.aliases)
    return session.aliases[prompt_id]


def _limit(named: dict[str, int] | dict[str, str]) -> None:
    while len(named) > _MAX_NAMES:
        del named[next(iter(named))]
