"""A file of a conversation, one record at a time, to facts.

A message is written again, under its id, once more is known of it: the last one holds. What
`$set.messages` holds was written before, and loses its times and tokens when a session is resumed:
nothing is taken from it. What `$rewindTo` takes back has happened, and was paid for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.agents.gemini import tool_calls
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.current_turn import CurrentTurn
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    SESSION_ENDED,
    Activity,
    AgentStarted,
    AgentWorked,
    ApiUsage,
    Fact,
    ProjectSeen,
)
from orchwatch.agents.sessions.fields import count, mapping, text, time_ns, word

if TYPE_CHECKING:
    from orchwatch.agents.sessions.claims import Claims

_SHOWN = ("info", "warning", "error")  # to the user, and no part of a turn
_MEMBERS = frozenset(
    {
        "activeExtensionName",
        "directories",
        "kind",
        "lastUpdated",
        "memoryScratchpad",
        "messages",
        "projectHash",
        "sessionId",
        "startTime",
        "summary",
    }
)
_MAX_MESSAGES = 1000  # of which is known in which turn they were written


class Chat:
    """Reads the records of one file in order.

    Args:
        session_id: The session that it belongs to.
        agent_id: The sub-agent whose file it is, None for a session's own.
        claims: Which session and turn own each message.
        state: What `state` returned when reading stopped before.
        project: The name of the folder that the session is about.
    """

    def __init__(
        self,
        session_id: str,
        agent_id: str | None,
        claims: Claims,
        state: dict[str, Any] | None = None,
        project: str = "",
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.version = ""  # which no file says
        self._session_id = session_id
        self._agent_id = agent_id
        self._claims = claims
        self._project = project
        self._state: dict[str, Any] = state or {"begun": False, "worked": False, "turns": {}}
        self._turn = CurrentTurn(self._state)

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""
        operator = next((key for key in record if key.startswith("$")), "")
        if operator:
            return self._changed(operator, record[operator])
        if not text(record.get("id")):
            return self._started(record)
        at = time_ns(record.get("timestamp"))
        if at is None:
            self.skipped["no time"] += 1
            return []
        facts = self._begun(at)
        kind = text(record.get("type"))
        if kind == "user":
            facts += self._user(record, at)
        elif kind == "gemini":
            facts += self._answer(record, at)
        elif kind not in _SHOWN:
            self.skipped[f"unknown kind {word(kind) or '?'}"] += 1
        return facts

    def _changed(self, operator: str, value: object) -> list[Fact]:
        """What was said of the conversation as a whole."""
        if operator == "$rewindTo":
            # While it runs nothing can be taken back.
            return self._turn.leave(self._common(0), INTERRUPTED)
        if operator == "$set":
            unknown = [f"$set/{word(key) or '?'}" for key in mapping(value).keys() - _MEMBERS]
        else:
            unknown = [f"${word(operator[1:]) or '?'}"]
        self.skipped.update(f"unknown kind {kind}" for kind in unknown)
        return []

    def _common(self, at: int) -> dict[str, Any]:
        common: dict[str, Any] = {"session_id": self._session_id, "time_ns": at}
        if self._agent_id:
            return {**common, "agent_id": self._agent_id, "agent_turn": self._turn.id}
        return {**common, "prompt_id": self._turn.id}

    def _started(self, record: dict[str, Any]) -> list[Fact]:
        """A process began to write: the first, or one that resumes the session."""
        at = time_ns(record.get("startTime"))
        if not text(record.get("sessionId")) or at is None:
            self.skipped["unknown kind ?"] += 1
            return []
        return [*self._turn.leave(self._common(at), SESSION_ENDED), *self._begun(at)]

    def _begun(self, at: int) -> list[Fact]:
        """What the first record shows, whichever it is."""
        if self._state["begun"]:
            return []
        self._state["begun"] = True
        if self._agent_id:
            return [AgentStarted(**self._common(at))]
        return [
            ProjectSeen(
                session_id=self._session_id, time_ns=at, passive=True, project=self._project
            )
        ]

    def _user(self, record: dict[str, Any], at: int) -> list[Fact]:
        """A prompt, or what tools have answered."""
        message_id = text(record["id"])
        turns = self._state["turns"]
        if message_id in turns:
            return []
        if _is_prompt(record.get("content")):
            facts = self._turn.begin(self._common(at), message_id)
            self._note(message_id)
            return facts + self._worked(at)  # it is written as the model is asked
        if self._turn.id is None:
            return []
        self._turn.live(at)
        return [Activity(**self._common(at))]

    def _answer(self, record: dict[str, Any], at: int) -> list[Fact]:
        message_id = text(record["id"])
        turns = self._state["turns"]
        if message_id not in turns:
            if self._turn.id is None:  # the file begins in the middle of it
                self._turn.enter(message_id, at)
            self._note(message_id)
        turn = turns[message_id]
        owner = f"agent/{self._agent_id}" if self._agent_id else turn
        ownership = self._claims.ownership(f"message:{message_id}", self._session_id, owner)
        if ownership is Ownership.SESSION:
            return []
        common = self._common(at)
        common["agent_turn" if self._agent_id else "prompt_id"] = turn
        common["passive"] = turn != self._turn.id
        calls = record.get("toolCalls")
        calls = calls if isinstance(calls, list) else []
        facts: list[Fact] = self._worked(at)
        tokens = mapping(record.get("tokens"))
        if tokens:
            fresh = ownership is Ownership.FRESH
            facts.append(_usage(record, tokens, {**common, "fresh": fresh}))
        last = int(not calls and _has_text(record.get("content")))
        facts.append(Activity(**common, last=last))
        facts += tool_calls.read(calls, common, self.skipped)
        if turn == self._turn.id:
            self._turn.live(max(fact.time_ns for fact in facts), last)
        return facts

    def _worked(self, at: int) -> list[Fact]:
        """A sub-agent's first sign of work."""
        if not self._agent_id or self._state["worked"]:
            return []
        self._state["worked"] = True
        return [AgentWorked(**self._common(at))]

    def _note(self, message_id: str) -> None:
        turns = self._state["turns"]
        turns[message_id] = self._turn.id
        while len(turns) > _MAX_MESSAGES:
            del turns[next(iter(turns))]


def _usage(record: dict[str, Any], tokens: dict[str, Any], common: dict[str, Any]) -> ApiUsage:
    """What a message used: its input has the cached tokens, its output lacks the thoughts."""
    cached, thoughts = count(tokens.get("cached")), count(tokens.get("thoughts"))
    return ApiUsage(
        **common,
        message_id=text(record["id"]),
        model=text(record.get("model")),
        input_tokens=max(count(tokens.get("input")) + count(tokens.get("tool")) - cached, 0),
        output_tokens=count(tokens.get("output")) + thoughts,
        cache_read_tokens=cached,
        cache_creation_tokens=0,
        reasoning_tokens=thoughts,
    )


def _is_prompt(content: object) -> bool:
    """Whether a user's message is no answer of a tool."""
    parts = [mapping(part) for part in content] if isinstance(content, list) else []
    return not any("functionResponse" in part for part in parts)


def _has_text(content: object) -> bool:
    """Whether the model said something, and asked for nothing."""
    if isinstance(content, str):
        return bool(content.strip())
    parts = [mapping(part) for part in content] if isinstance(content, list) else []
    if any("functionCall" in part for part in parts):
        return False
    return any(part.get("text") and not part.get("thought") for part in parts)
