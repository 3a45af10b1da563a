"""Which turn of a session's own conversation a line of its file belongs to.

The file's order decides, not the clock nor when it is read: what comes after a recorded end, or
under another prompt's id, is no longer part of a turn.
"""

from __future__ import annotations

from typing import Any

from orchwatch.agents.sessions.facts import (
    NEXT_PROMPT,
    NO_END,
    SESSION_ENDED,
    Fact,
    ProcessEnded,
    PromptCopied,
    PromptSubmitted,
    ToolCut,
    TurnEnded,
    TurnOver,
)

_MAX_KEPT = 1000


def new_state() -> dict[str, Any]:
    """Of a file of which nothing was read yet; JSON."""
    return {
        "prompt": None,  # the current turn, by its prompt's id
        "began": 0,  # when it was asked for
        "record": "",  # its prompt's own id
        "pending": None,  # a turn if the model answers: id, time, derived, record, meta
        "last": 0,  # the current turn's last sign of life
        "final": 0,  # as `Activity.last`: whether that was a last word
        "over": False,  # its end was recorded, and nothing revives it
        "copying": False,  # what is read now was read elsewhere before
        "again": False,  # what is read now stands further up in this very file
        "asked": {},  # the prompts that this file holds, the last ones
        "unanswered": "",  # the prompt's own id until the model has answered
        "message": ["", None],  # the last one, which may come in several lines: id, turn
        "latest": 0,  # time in the file
        "open": {},  # calls without an answer: start, turn or sub-agent
        "cut": {},  # calls that will get none, whatever comes
        "previous": "",  # the session that the last copied line was written in
    }


class Turns:
    """The state machine over that state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    @property
    def prompt(self) -> str | None:
        """The current turn's id."""
        found: str | None = self.state["prompt"]
        return found

    @property
    def ended(self) -> bool:
        """Whether the current turn has said its last word, as far as is known."""
        return bool(self.state["over"]) or self.state["final"] > 0

    @property
    def copying(self) -> bool:
        """Whether this part of the file is a copy of what was read before."""
        return bool(self.state["copying"] or self.state["again"])

    def is_again(self, record: str) -> bool:
        """Whether a prompt stands further up too, with other turns in between."""
        asked = self.state["asked"]
        if record in asked and record != self.state["record"]:
            self.state["again"] = True
            return True
        asked[record] = True
        while len(asked) > _MAX_KEPT:
            del asked[next(iter(asked))]
        return False

    def live(self, at: int, last: int = 0) -> bool:
        """A sign of life of the current turn; whether it has one that can still live.

        Args:
            at: When.
            last: See `Activity`.
        """
        state = self.state
        if state["over"] or state["prompt"] is None:
            return False
        state["last"] = max(state["last"], at)
        state["final"] = last
        return True

    def ask(self, prompt_id: str, at: int, record: str, *, derived: bool, meta: bool) -> None:
        """Notes a request that becomes a turn only if the model answers it."""
        pending = self.state["pending"]
        if pending and pending[0] == prompt_id and not (pending[4] and not meta):
            return
        self.state["pending"] = [prompt_id, at, derived, record, meta]

    def begin(
        self, session_id: str, prompt_id: str, at: int, record: str, *, derived: bool
    ) -> list[Fact]:
        """A prompt begins a turn."""
        facts = self._leave(session_id)
        self._enter(prompt_id, at, record)
        facts.append(
            PromptSubmitted(
                session_id=session_id,
                prompt_id=prompt_id,
                time_ns=at,
                derived=derived,
                record_id=record,
                previous=self.state["previous"],
            )
        )
        return facts

    def begin_copy(self, session_id: str) -> list[Fact]:
        """A prompt that another session owns: what follows is a copy."""
        facts = self._leave(session_id)
        self._enter(None, 0, "")
        self.state["copying"] = True
        return facts

    def next_turn(self, record: str) -> str:
        """The turn that a message read now belongs to, unless it is claimed already."""
        state = self.state
        if state["pending"]:
            return str(state["pending"][0])
        if state["prompt"] is None or state["over"] or state["copying"]:
            return record
        return str(state["prompt"])

    def answer(self, common: dict[str, Any], message: str, record: str) -> list[Fact]:
        """The model answers with a message that no other turn has claimed.

        Args:
            common: The members of the facts.
            message: The message's id.
            record: The line's own id.
        """
        state = self.state
        session_id, at = common["session_id"], common["time_ns"]
        facts: list[Fact] = []
        if state["pending"]:
            prompt_id, asked, derived, own, _ = state["pending"]
            facts = self.begin(session_id, prompt_id, asked, own, derived=derived)
        elif state["prompt"] is None or state["over"] or state["copying"]:
            facts = self._leave(session_id)
            self._enter(record, at, record)
        state["unanswered"], state["again"] = "", False
        state["message"] = [message, state["prompt"]]
        return facts

    def repeat(self, session_id: str, message: str) -> list[Fact]:
        """The model's answer is a copy: so is what it answers."""
        state = self.state
        facts: list[Fact] = []
        state["message"] = [message, None]
        if state["unanswered"]:
            facts = [
                PromptCopied(
                    session_id=session_id,
                    time_ns=state["last"],
                    prompt_id=state["prompt"],
                    record_id=state["unanswered"],
                )
            ]
            state["copying"] = True
        elif state["pending"]:
            facts = self.begin_copy(session_id)
        return facts

    def end(
        self, common: dict[str, Any], reason: str | None = None, own_ns: int | None = None
    ) -> list[Fact]:
        """The file records the current turn's end, for good.

        Args:
            common: The members of the facts.
            reason: Why it was left unfinished.
            own_ns: How long it took without waiting for a person, where that is recorded.
        """
        state = self.state
        if state["over"] or state["prompt"] is None:
            return []
        state["over"] = True
        state["last"] = max(state["last"], common["time_ns"])
        paused_ns = 0
        if own_ns is not None and state.get("began"):
            paused_ns = max(common["time_ns"] - state["began"] - own_ns, 0)
        return [
            TurnEnded(**common, reason=reason),
            TurnOver(**common, paused_ns=paused_ns),
            *self._cut(common["session_id"], common["time_ns"], reason or NO_END),
        ]

    def exit(self, session_id: str) -> list[Fact]:
        """Claude Code ended, and all that ran with it."""
        state = self.state
        if not state["latest"]:
            return []
        facts = self._leave(session_id, SESSION_ENDED)
        facts += self._cut(session_id, max(state["last"], state["latest"]), SESSION_ENDED)
        state["over"] = True
        facts.append(ProcessEnded(session_id=session_id, time_ns=state["latest"]))
        return facts

    def call(self, tool_use_id: str, at: int, owner: str) -> None:
        """A tool was called, in a turn or by a sub-agent."""
        self.state["open"].setdefault(tool_use_id, [at, owner])

    def returned(self, tool_use_id: str) -> bool:
        """A tool answered; whether that still counts."""
        self.state["open"].pop(tool_use_id, None)
        return tool_use_id not in self.state["cut"]

    def cut_agent(self, common: dict[str, Any], reason: str) -> list[Fact]:
        """The calls of a sub-agent end with it."""
        owner = agent_owner(common["agent_id"])
        mine = [key for key, (_, whose) in self.state["open"].items() if whose == owner]
        return [self._cut_one(common["session_id"], key, common["time_ns"], reason) for key in mine]

    def _enter(self, prompt_id: str | None, at: int, record: str) -> None:
        self.state.update(
            prompt=prompt_id,
            began=at,
            record=record,
            pending=None,
            last=at,
            final=0,
            over=False,
            copying=False,
            again=False,
            unanswered=record,
        )

    def _leave(self, session_id: str, reason: str = NEXT_PROMPT) -> list[Fact]:
        """Something else begins: the current turn is over, and so are calls of earlier ones.

        Its own may still be answered while the next one runs.
        """
        state = self.state
        facts: list[Fact] = self._cut(session_id, 0, None)
        if state["prompt"] is not None and not state["over"] and not state["copying"]:
            facts.append(
                TurnOver(
                    session_id=session_id,
                    time_ns=state["last"],
                    prompt_id=state["prompt"],
                    reason="" if state["final"] else reason,
                )
            )
        return facts

    def _cut(self, session_id: str, at: int, reason: str | None) -> list[Fact]:
        """The open calls of earlier turns, and with a reason those of the current one too."""
        facts: list[Fact] = []
        for key, (start, owner) in list(self.state["open"].items()):
            if owner.startswith(_AGENT):
                continue
            if owner != self.state["prompt"]:
                facts.append(self._cut_one(session_id, key, start, NEXT_PROMPT))
            elif reason:
                facts.append(self._cut_one(session_id, key, at, reason))
        return facts

    def _cut_one(self, session_id: str, tool_use_id: str, at: int, reason: str) -> ToolCut:
        cut = self.state["cut"]
        del self.state["open"][tool_use_id]
        cut[tool_use_id] = True
        while len(cut) > _MAX_KEPT:
            del cut[next(iter(cut))]
        return ToolCut(session_id=session_id, time_ns=at, tool_use_id=tool_use_id, reason=reason)


_AGENT = "agent/"


def agent_owner(agent_id: str) -> str:
    """A sub-agent as an owner, which no turn's id equals."""
    return _AGENT + agent_id
