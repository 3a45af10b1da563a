"""What is known of one session file while its records are read in order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions.costs import Costs
from orchwatch.agents.claude_code.sessions.model_requests import ModelRequest, ModelRequests
from orchwatch.agents.claude_code.sessions.turns import Turns, new_state
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    AgentWorked,
    Fact,
    ModelAnswered,
)

if TYPE_CHECKING:
    from orchwatch.agents.sessions.claims import Claims

_MAX_LINKS = 1000


class FileState:
    """What its readers share.

    Args:
        session_id: The session that the file belongs to; by default what each line says.
        agent_id: The sub-agent whose file it is, None for a session's own file.
        state: What `state` held when reading stopped before.
        claims: Which session and turn each message belongs to.
        origin: What is known of that sub-agent besides its file, as members of `AgentStarted`.

    Attributes:
        state: What has to be saved to go on reading later; JSON.
        skipped: How many records were passed over, by reason.
    """

    def __init__(
        self,
        session_id: str,
        agent_id: str | None,
        state: dict[str, Any] | None,
        claims: Claims,
        origin: dict[str, str],
    ) -> None:
        self.session_id = session_id
        self.agent_id = agent_id
        self.origin: dict[str, Any] = origin
        self.claims = claims
        self.state: dict[str, Any] = state or {
            **new_state(),
            "session": session_id,
            "unnamed": bool(agent_id)
            and not (origin["agent_type"] or origin["tool_use_id"])
            and agent_id,
            "turns": {},  # by sub-agent: its current prompt
            "copies": {},  # sub-agents that are copies of another session's
            "sides": {},  # record id to the sub-agent inside this very file (older versions)
            "calls": {},  # tool calls that the file holds, the last ones
            "stops": [],  # Stop hooks that wait for their summary
            "stopped": [],  # durations of those that ended before their summary
            "worked": {},  # sub-agents that have asked their model, or were answered
            "begun": False,  # a line with a time was read
        }
        self.turns = Turns(self.state)
        self.model_requests = ModelRequests(self.state)
        self.costs = Costs(self.state)
        self.skipped: Counter[str] = Counter()

    def own_prompt(self, session_id: str) -> None:
        """Claims the current prompt for this session, since it led to something."""
        if self.state["record"]:
            self.claims.ownership(f"prompt:{self.state['record']}", session_id, "")

    def worked(self, agent_id: str, common: dict[str, Any]) -> list[Fact]:
        """A sub-agent's first sign of work."""
        if agent_id in self.state["worked"]:
            return []
        self.state["worked"][agent_id] = True
        limit(self.state["worked"])
        return [AgentWorked(**{**common, "agent_id": agent_id})]

    def cut_off(self, common: dict[str, Any]) -> list[Fact]:
        """The user stopped the model: closes the request that it was answering, if any."""
        request = self.model_requests.cut_off()
        return [answered(common, request, INTERRUPTED)] if request else []

    def outside(self, common: dict[str, Any], *, alive: bool) -> None:
        """Detaches a fact that comes after its turn's end; one before it is a sign of life."""
        if alive and not self.state["final"]:
            alive = self.turns.live(common["time_ns"])
        if not alive:
            common["prompt_id"], common["passive"] = None, True


def answered(common: dict[str, Any], request: ModelRequest, outcome: str = "") -> ModelAnswered:
    """The fact about a request to the model that has ended."""
    return ModelAnswered(
        **common,
        record_id=request.record_id,
        start_ns=request.start_ns,
        model=request.model,
        request_id=request.request_id,
        outcome=outcome,
    )


def limit(links: dict[str, Any]) -> None:
    """Drops the oldest of more than `_MAX_LINKS` entries."""
    while len(links) > _MAX_LINKS:
        del links[next(iter(links))]
