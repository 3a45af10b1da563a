"""A session's file, or a sub-agent's, one record at a time, to facts.

A session's file also has what its sub-agents' requests and calls took. What they used is counted by
their own files; only those that have none (as the one that writes the memory) are counted here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.qwen import events, tools
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.current_turn import CurrentTurn
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    Activity,
    AgentStarted,
    AgentWorked,
    ApiUsage,
    Compacted,
    Fact,
    ProjectSeen,
    TurnEnded,
)
from orchwatch.agents.sessions.fields import count, mapping, project_name, text, time_ns, word

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.agents.sessions.claims import Claims

# Kinds of `system` and `user` lines that say nothing about operations.
_SILENT = frozenset(
    {
        "agent_bootstrap",
        "agent_launch_prompt",
        "agent_retry",
        "agent_session_ready",
        "at_command",
        "attribution_snapshot",
        "background_task_completed",
        "branch_checkpoint",
        "custom_title",
        "file_history_snapshot",
        "goal_runtime",
        "goal_state",
        "goal_turn_end",
        "omni_recall",
        "parent_session",
        "session_approval_mode",
        "session_artifact_event",
        "session_artifact_snapshot",
        "session_execution_engine",
        "session_model",
        "session_notes",
        "session_source",
        "session_sources_snapshot",
        "slash_command",
        "turn_result",
        "user_text_elements",
    }
)
_AUTOMATIC = ("notification", "cron")  # prompts that no person has written
_BY_PERSON = ("", "real_user")


class Transcript:
    """Reads the records of one file in order.

    Args:
        session_id: The session that it belongs to.
        agent_id: The sub-agent whose file it is, None for a session's own.
        claims: Which session and turn own each message.
        state: What `state` returned when reading stopped before.
        origin: What lies beside a sub-agent's file, as members of `AgentStarted`; and its model.
        is_filed: Whether a sub-agent has a file of its own.
    """

    def __init__(
        self,
        session_id: str,
        agent_id: str | None,
        claims: Claims,
        state: dict[str, Any] | None = None,
        *,
        origin: dict[str, str],
        is_filed: Callable[[str], bool],
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.version = ""
        self._session_id = session_id
        self._agent_id = agent_id
        self._claims = claims
        self._origin = origin
        self._is_filed = is_filed
        self._state: dict[str, Any] = state or {
            "begun": False,
            "previous": "",  # the session that it was forked from
            "pending": None,  # an automatic prompt, until it is answered: id and time
            "open": [],  # calls of the last message without an answer
            "ran": False,  # whether one of its calls was carried out
            "background": [],  # calls whose sub-agents go on
        }
        self._turn = CurrentTurn(self._state)

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""
        self.version = word(record.get("version")) or self.version
        kind, at = text(record.get("type")), time_ns(record.get("timestamp"))
        read = {
            "user": self._user,
            "assistant": self._answer,
            "tool_result": self._result,
            "system": self._system,
        }.get(kind)
        if read is None or (record.get("isSidechain") is True and not self._agent_id):
            self.skipped[f"unknown kind {'sidechain' if read else word(kind) or '?'}"] += 1
            return []
        if at is None or not text(record.get("uuid")):
            self.skipped["no time" if at is None else "no id"] += 1
            return []
        origin = text(mapping(record.get("forkedFrom")).get("sessionId"))
        if origin and origin != self._session_id:
            self._state["previous"] = origin
            return []  # copied from there
        return self._begun(record, at) + read(record, at)

    def _common(self, at: int) -> dict[str, Any]:
        common: dict[str, Any] = {"session_id": self._session_id, "time_ns": at}
        if self._agent_id:
            return {**common, "agent_id": self._agent_id, "agent_turn": self._turn.id}
        return {**common, "prompt_id": self._turn.id}

    def _begun(self, record: dict[str, Any], at: int) -> list[Fact]:
        """What the first record shows, whichever it is."""
        if self._state["begun"]:
            return []
        self._state["begun"] = True
        if self._agent_id:
            name = word(record.get("agentName"))
            call = self._agent_id.removeprefix(f"{name}-")
            return [
                AgentStarted(
                    **self._common(at),
                    agent_type=self._origin.get("agent_type") or name,
                    tool_use_id=self._origin.get("tool_use_id")
                    or (call if call != self._agent_id else ""),
                ),
                # As it is set to work: when it asks its model stands in the session's file alone.
                AgentWorked(**self._common(at)),
            ]
        name = project_name(record.get("cwd"))
        project: dict[str, Any] = {"session_id": self._session_id, "time_ns": at, "passive": True}
        return [ProjectSeen(**project, project=name)]

    def _user(self, record: dict[str, Any], at: int) -> list[Fact]:
        subtype = text(record.get("subtype"))
        if subtype == "mid_turn_user_message":
            return self._alive(at)
        if subtype in _SILENT:
            return []
        if subtype and subtype not in _AUTOMATIC:
            self.skipped[f"unknown kind user/{word(subtype) or '?'}"] += 1
            return []
        by_person = not subtype and text(record.get("provenance")) in _BY_PERSON
        if by_person or (self._agent_id and self._turn.id is None):
            self._state["pending"] = None
            return self._begin(text(record["uuid"]), at)
        facts, call = tools.noticed(record, self._common(at))
        if call in self._state["background"]:
            self._state["background"].remove(call)
        if self._turn.id is not None and not self._turn.is_final:
            return facts + self._alive(at)
        self._state["pending"] = [text(record["uuid"]), at]
        return facts

    def _begin(self, record_id: str, at: int) -> list[Fact]:
        self._state.update(open=[], ran=False)
        return self._turn.begin(self._common(at), record_id, self._state["previous"])

    def _alive(self, at: int) -> list[Fact]:
        if self._turn.id is None:
            return []
        self._turn.live(at)
        return [Activity(**self._common(at))]

    def _answer(self, record: dict[str, Any], at: int) -> list[Fact]:
        message_id = text(record["uuid"])
        facts: list[Fact] = []
        if self._state["pending"]:
            facts = self._begin(*self._state["pending"])
            self._state["pending"] = None
        if self._turn.id is None:  # the file begins in the middle of it
            self._turn.enter(message_id, at)
        ownership = self._owned(message_id, self._agent_id)
        if ownership is Ownership.SESSION:
            return facts
        common = self._common(at)
        parts = mapping(record.get("message")).get("parts")
        parts = [mapping(part) for part in parts] if isinstance(parts, list) else []
        calls = [mapping(part["functionCall"]) for part in parts if "functionCall" in part]
        used = mapping(record.get("usageMetadata"))
        if used:
            model = text(record.get("model")) or self._origin.get("model", "")
            fresh = ownership is Ownership.FRESH
            facts.append(_usage(used, message_id, model, {**common, "fresh": fresh}))
        says = any(part.get("text") and not part.get("thought") for part in parts)
        last = int(says and not calls and not self._state["background"])
        facts.append(Activity(**common, last=last))
        self._turn.live(at, last)
        for call in calls:
            if not text(call.get("id")) or not text(call.get("name")):
                self.skipped["call without a name"] += 1
                continue
            facts.append(tools.asked(call, common))
        self._state["open"] += [text(call.get("id")) for call in calls]
        self._state["ran"] = bool(self._state["ran"] and not calls)
        return facts

    def _result(self, record: dict[str, Any], at: int) -> list[Fact]:
        state, common = self._state, self._common(at)
        ended, status = tools.answered(record, common)
        if not ended.tool_use_id:
            self.skipped["answer to no call"] += 1
            return []
        facts: list[Fact] = [ended]
        facts += tools.agent_ended(record, ended.tool_use_id, common)
        if tools.started_agent(record)[0] == tools.BACKGROUND:
            state["background"].append(ended.tool_use_id)
        if self._turn.id is None:
            return facts
        self._turn.live(at)
        state["ran"] = state["ran"] or status != "cancelled"
        if ended.tool_use_id in state["open"]:
            state["open"].remove(ended.tool_use_id)
            if not state["open"] and not state["ran"]:  # then the model is not asked again
                facts.append(TurnEnded(**common, reason=INTERRUPTED))
                self._turn.live(at, 1)
        return facts

    def _system(self, record: dict[str, Any], at: int) -> list[Fact]:
        subtype = text(record.get("subtype"))
        common = self._common(at)
        if subtype == "ui_telemetry":
            return self._event(record, at)
        if subtype == "rewind":
            return self._turn.leave(common)
        if subtype == "chat_compression":
            info = mapping(mapping(record.get("systemPayload")).get("info"))
            common["passive"] = self._turn.is_final
            tokens = count(info.get("originalTokenCount"))
            return [Compacted(**common, record_id=text(record["uuid"]), tokens=tokens)]
        if subtype not in _SILENT:
            self.skipped[f"unknown kind system/{word(subtype) or '?'}"] += 1
        return []

    def _event(self, record: dict[str, Any], at: int) -> list[Fact]:
        """What the client reports of a request or a call, its own or a sub-agent's."""
        event = mapping(mapping(record.get("systemPayload")).get("uiEvent"))
        name = text(event.get(semconv.EVENT_NAME)).removeprefix("qwen-code.")
        read = events.READERS.get(name)
        if read is None:
            self.skipped[f"unknown kind ui_telemetry/{word(name) or '?'}"] += 1
            return []
        common = self._common(time_ns(event.get("event.timestamp")) or at)
        common["passive"] = self._turn.id is None or self._turn.is_final
        agent_id = events.agent_of(event)
        if not agent_id or agent_id == self._agent_id:
            if name == "api_error" and not common["passive"]:
                self._turn.live(at, 1)
            return read(event, common, text(record["uuid"]))
        if self._is_filed(agent_id):
            common = {**common, "agent_id": agent_id, "prompt_id": None, "passive": True}
            return read(event, common, text(record["uuid"]))
        common = {**common, "agent_id": agent_id, "passive": False}
        return self._hidden(event, common, read(event, common, text(record["uuid"])))

    def _hidden(
        self, event: dict[str, Any], common: dict[str, Any], facts: list[Fact]
    ) -> list[Fact]:
        """A sub-agent of which there are nothing but its events."""
        began = {**common, "time_ns": events.began_ns(event, common["time_ns"])}
        kind = word(event.get("subagent_type"))
        started = AgentStarted(**began, agent_type=kind, helper=True)
        used = events.usage(event)
        if not used:
            return [started, *facts]
        message_id = text(event.get("response_id")) or f"{common['agent_id']}/{common['time_ns']}"
        fresh = self._owned(message_id, common["agent_id"]) is Ownership.FRESH
        told = {**common, "fresh": fresh}
        usage = _usage(used, message_id, text(event.get("model")), told)
        return [started, *facts, usage, Activity(**common, last=1)]

    def _owned(self, message_id: str, agent_id: str | None) -> Ownership:
        owner = f"agent/{agent_id}" if agent_id else str(self._turn.id)
        return self._claims.ownership(f"message:{message_id}", self._session_id, owner)


def _usage(used: dict[str, Any], message_id: str, model: str, common: dict[str, Any]) -> ApiUsage:
    """What a message used: its input has the cached tokens.

    Its output has the thoughts with some providers and lacks them with others: the sum tells.
    """
    asked, output = count(used.get("promptTokenCount")), count(used.get("candidatesTokenCount"))
    thoughts, cached = (
        count(used.get(f"{kind}TokenCount")) for kind in ("thoughts", "cachedContent")
    )
    if count(used.get("totalTokenCount")) >= asked + output + thoughts:
        output += thoughts
    return ApiUsage(
        **common,
        message_id=message_id,
        model=model,
        input_tokens=max(asked - cached, 0),
        output_tokens=output,
        cache_read_tokens=cached,
        cache_creation_tokens=0,
        reasoning_tokens=thoughts,
    )
