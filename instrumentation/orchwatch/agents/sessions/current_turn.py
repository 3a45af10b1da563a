"""The turn that a conversation is in, for agents whose files say no more than its prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions.facts import NEXT_PROMPT, Fact, PromptSubmitted, TurnOver

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class CurrentTurn:
    """Of a session, or of a sub-agent, by the order of one file's records.

    Args:
        state: Where it is kept; JSON. Empty at the start of a file.
    """

    def __init__(self, state: MutableMapping[str, Any]) -> None:
        self._state = state
        state.setdefault("turn", None)  # its id
        state.setdefault("last", 0)  # its last sign of life
        state.setdefault("final", 0)  # as `Activity.last`: whether that was a last word

    @property
    def id(self) -> str | None:
        """Its id; None before the first, and after one that is over."""
        found: str | None = self._state["turn"]
        return found

    @property
    def is_final(self) -> bool:
        """Whether the last that was heard of it looks like its end."""
        return bool(self._state["final"])

    def begin(self, common: dict[str, Any], record_id: str, previous: str = "") -> list[Fact]:
        """A prompt begins the next one, whose id is that of the prompt.

        Args:
            common: The members of its facts.
            record_id: The prompt's id.
            previous: The session that this one was forked from.
        """
        facts = self.leave(common)
        self.enter(record_id, common["time_ns"])
        turn = "agent_turn" if common.get("agent_id") else "prompt_id"
        told = {**common, turn: record_id}
        return [*facts, PromptSubmitted(**told, record_id=record_id, previous=previous)]

    def enter(self, turn_id: str, at: int) -> None:
        """It is in one whose prompt was not seen."""
        self._state.update(turn=turn_id, last=at, final=0)

    def live(self, at: int, last: int = 0) -> None:
        """A sign of life; `last` as for `Activity`."""
        self._state.update(last=max(self._state["last"], at), final=last)

    def leave(self, common: dict[str, Any], reason: str = NEXT_PROMPT) -> list[Fact]:
        """Nothing that comes later belongs to it; that of a sub-agent is over with its run.

        Args:
            common: As for `begin`.
            reason: Why it is unfinished if it has not said its last word.
        """
        turn_id, self._state["turn"] = self._state["turn"], None
        if turn_id is None or common.get("agent_id"):
            return []
        return [
            TurnOver(
                session_id=common["session_id"],
                time_ns=self._state["last"],
                prompt_id=turn_id,
                reason="" if self.is_final else reason,
            )
        ]
