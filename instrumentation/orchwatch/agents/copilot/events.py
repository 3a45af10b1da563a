"""The events of a Copilot CLI session: its own and, by `agentId`, those of its sub-agents.

A turn is what a person asked for, by the interaction that its message names. Each request to the
model has a record of what it used. The totals that a process writes as it ends are those of the
whole session, however often it was resumed: only what they hold more than its records is new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.copilot import usage
from orchwatch.agents.copilot.calls import Calls
from orchwatch.agents.copilot.incidents import Incidents
from orchwatch.agents.copilot.kinds import ALIVE, SILENT
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    NEXT_PROMPT,
    SESSION_ENDED,
    Activity,
    AgentEnded,
    AgentStarted,
    AgentWorked,
    ApiFailed,
    Fact,
    ModelAnswered,
    ProcessEnded,
    ProjectSeen,
    PromptSubmitted,
    ProviderSeen,
    TurnEnded,
    TurnOver,
)
from orchwatch.agents.sessions.fields import (
    count,
    mapping,
    milliseconds,
    project_name,
    text,
    time_ns,
    word,
)
from orchwatch.agents.sessions.record_reader import RecordReader

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from orchwatch.agents.sessions.claims import Claims

    _Table = Callable[[int, Counter[str]], list[dict[str, Any]]]
    _Read = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], list[Fact]]


class Events(RecordReader):
    """Reads one session's events in order.

    Args:
        session_id: The session.
        claims: Who owns what several sessions hold.
        table: Reads the rows about the session's requests that come after one, and counts what it
            cannot read.
        state: What `state` returned.

    Attributes:
        skipped: What was passed over, by reason.
    """

    def __init__(
        self,
        session_id: str,
        claims: Claims,
        table: _Table,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._table = table
        state = state or {
            "version": "",
            "turn": None,
            "over": False,  # nothing more belongs to that turn
            "last": 0,
            "turns": {},  # of sub-agents: the current one
            "agents": {},  # the sub-agent that a call started
            "final": {},  # by sub-agent, or empty: its last message asks for no tool
            "calls": {},
            "permissions": {},  # requests: the call that asks
            "hooks": {},
            "told": False,  # requests have records in this file
            "row": 0,  # the last one of the table that was read instead
            "used": usage.nothing(),  # by all records
        }
        super().__init__(session_id, None, claims, state)
        self._calls = Calls(self._state)
        self._readers: dict[str, _Read] = {
            "session.start": self._start,
            "session.resume": self._resume,
            "session.shutdown": self._shutdown,
            "session.error": self._error,
            "session.usage_record": self._used,
            "abort": self._abort,
            "user.message": self._asked,
            "assistant.turn_start": self._request,
            "assistant.message": self._answered,
            "assistant.turn_end": self._request_ended,
            "tool.execution_start": self._calls.started,
            "tool.execution_complete": self._calls.ended,
            "permission.requested": self._calls.asked,
            "permission.completed": self._calls.permitted,
            "subagent.started": self._agent_started,
            "subagent.completed": self._agent_ended,
            "subagent.failed": self._agent_ended,
            **Incidents(self._state).readers(),
        }

    def _read(self, kind: str, record: dict[str, Any]) -> list[Fact]:
        reader = self._readers.get(kind)
        if reader is None and kind not in ALIVE:
            if kind not in SILENT:
                self.skipped[f"unknown kind {word(kind) or '?'}"] += 1
            return []
        at, data = time_ns(record.get("timestamp")), record.get("data")
        if at is None or not isinstance(data, dict):
            self.skipped["no time" if at is None else f"unreadable {kind}"] += 1
            return []
        common = self._common(at, record, data)
        if reader is None:
            return [Activity(**common)]
        facts = reader(record, data, common)
        if facts and not common.get("agent_id"):
            self._state["last"] = max(self._state["last"], at)
        return facts

    def _common(self, at: int, record: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The members of the facts of a record."""
        state = self._state
        common: dict[str, Any] = {"session_id": self._session_id, "time_ns": at}
        call = text(data.get("parentToolCallId"))
        agent = text(record.get("agentId")) or (state["agents"].get(call, call) if call else "")
        if agent:
            return {**common, "agent_id": agent, "agent_turn": state["turns"].get(agent)}
        # What comes after a turn's end is no sign of its life.
        return {**common, "prompt_id": state["turn"], "passive": state["over"]}

    def _start(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        self._state["version"] = word(data.get("copilotVersion")) or self._state["version"]
        project = project_name(mapping(data.get("context")).get("cwd"))
        return [ProjectSeen(**common, project=project)]

    def _resume(
        self, _record: dict[str, Any], _data: dict[str, Any], _common: dict[str, Any]
    ) -> list[Fact]:
        """Another process goes on: what the one before left open will not be closed."""
        return self._leave(SESSION_ENDED)

    def _asked(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        state = self._state
        own = text(data.get("messageId")) or text(record.get("id"))
        turn = text(data.get("interactionId")) or own
        agent = common.get("agent_id")
        if agent:
            state["turns"][agent] = common["agent_turn"] = turn
            state["final"].pop(agent, None)
            return [PromptSubmitted(**common, record_id=own)]
        # What the client itself adds, as the text of a skill, belongs to what runs.
        goes_on = turn == state["turn"] or bool(data.get("source"))
        if goes_on and state["turn"] is not None and not state["over"]:
            return [Activity(**common)]
        facts = self._leave(NEXT_PROMPT)
        state.update(turn=turn, over=False, last=common["time_ns"])
        state["final"].pop("", None)
        common |= {"prompt_id": turn, "passive": False}
        return [*facts, PromptSubmitted(**common, record_id=own)]

    def _request(
        self, _record: dict[str, Any], _data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        """The model is about to be asked."""
        self._state["final"].pop(common.get("agent_id") or "", None)
        worked = [AgentWorked(**common)] if common.get("agent_id") else []
        return [Activity(**common), *worked]

    def _answered(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        is_final = not data.get("toolRequests")
        self._state["final"][common.get("agent_id") or ""] = is_final
        return [*self._tabled(common), Activity(**common, last=2 * is_final)]

    def _request_ended(
        self, _record: dict[str, Any], _data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        is_final = bool(self._state["final"].get(common.get("agent_id") or ""))
        facts: list[Fact] = [Activity(**common, last=2 * is_final)]
        return [*facts, TurnEnded(**common)] if is_final else facts

    def _error(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        error_type, status = word(data.get("errorType")) or "other", count(data.get("statusCode"))
        facts: list[Fact] = []
        if status:
            own = text(record.get("id"))
            facts.append(ApiFailed(**common, record_id=own, error_type=error_type, status=status))
        self._state["final"][common.get("agent_id") or ""] = True
        return [*facts, TurnEnded(**common, error_type=error_type)]

    def _abort(
        self, _record: dict[str, Any], _data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        if common.get("passive") or common.get("agent_id"):
            return []
        cut = self._calls.cut(common, INTERRUPTED)
        self._state["over"] = True
        return [*cut, TurnEnded(**common, reason=INTERRUPTED), TurnOver(**common)]

    def _shutdown(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        facts = self._tabled(common)
        facts += self._untold(data, common)
        facts += self._leave(SESSION_ENDED)
        facts += self._calls.cut(self._of_session(common), SESSION_ENDED)
        return [*facts, ProcessEnded(**self._of_session(common))]

    def _leave(self, reason: str) -> list[Fact]:
        """Nothing more belongs to the turn."""
        state = self._state
        if state["turn"] is None or state["over"]:
            return []
        state["over"] = True
        over: dict[str, Any] = {
            "session_id": self._session_id,
            "time_ns": state["last"],
            "prompt_id": state["turn"],
        }
        cut = self._calls.cut(over, reason)
        return [*cut, TurnOver(**over, reason="" if state["final"].get("") else reason)]

    def _of_session(self, common: dict[str, Any]) -> dict[str, Any]:
        return {"session_id": self._session_id, "time_ns": common["time_ns"]}

    def _used(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        about = mapping(data.get("usage"))
        found = usage.of_record(about)
        if found is None:
            self.skipped["unreadable session.usage_record"] += 1
            return []
        self._state["told"] = True
        own = text(record.get("id")) or text(about.get("apiCallId"))
        model = word(about.get("model"))
        facts = self._counted(own, model, found, common)
        if took_ns := milliseconds(about.get("duration")):
            facts.append(
                ModelAnswered(
                    **common,
                    record_id=own,
                    start_ns=common["time_ns"] - took_ns,
                    model=model,
                    request_id=text(about.get("apiCallId")),
                    first_ns=milliseconds(about.get("timeToFirstTokenMs")),
                )
            )
        provider = word(about.get("providerType"))
        if about.get("isByok") is True and provider:
            facts.append(ProviderSeen(**common, provider=provider))
        return facts

    def _tabled(self, common: dict[str, Any]) -> list[Fact]:
        """What the table says of requests by now, where the file has no records of them."""
        if self._state["told"]:
            return []
        facts: list[Fact] = []
        for row in self._table(self._state["row"], self.skipped):
            if (time_ns(row.get("created_at")) or 0) > common["time_ns"]:
                break
            self._state["row"] = count(row.get("id"))
            agent = text(row.get("agent_id"))
            whose = {**self._of_session(common), "prompt_id": self._state["turn"]}
            if agent:
                turn = self._state["turns"].get(agent)
                whose = {**self._of_session(common), "agent_id": agent, "agent_turn": turn}
            own = f"{self._session_id}/{row.get('id')}"
            found = usage.of_row(row)
            facts += self._counted(own, word(row.get("model")), found, whose)
        return facts

    def _untold(self, data: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        """What the session's totals hold more than the records of its requests."""
        totals, model = usage.of_totals(mapping(data.get("modelMetrics")))
        more = usage.more(totals, self._state["used"])
        turn = self._state["turn"]
        if more is None or turn is None:
            return []
        own = f"{self._session_id}/{common['time_ns']}"
        whose = {**self._of_session(common), "prompt_id": turn, "passive": True}
        return self._counted(own, model, more, whose)

    def _counted(
        self, own: str, model: str, found: dict[str, int], common: dict[str, Any]
    ) -> list[Fact]:
        usage.add(self._state["used"], found)
        agent = common.get("agent_id") or ""
        whose = self._claims.ownership(f"copilot usage:{own}", self._session_id, agent)
        if whose in (Ownership.SESSION, Ownership.TURN):
            return []
        return [usage.fact(own, model, found, common, is_fresh=whose is Ownership.FRESH)]

    def _agent_started(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        call = text(data.get("toolCallId"))
        agent = common.get("agent_id") or call
        if not agent:
            self.skipped["unreadable subagent.started"] += 1
            return []
        self._state["agents"][call] = agent
        self._calls.starts(call, agent, is_background=data.get("executionMode") == "background")
        kind = word(data.get("agentType")) or word(data.get("agentName"))
        begun = {**self._of_session(common), "agent_id": agent}
        return [AgentStarted(**begun, agent_type=kind, tool_use_id=call)]

    def _agent_ended(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        call = text(data.get("toolCallId"))
        agent = common.get("agent_id") or self._state["agents"].get(call, call)
        failed = "agent_failed" if record.get("type") == "subagent.failed" else None
        ended = {**self._of_session(common), "agent_id": agent}
        return [AgentEnded(**ended, error_type=failed)] if agent else []
