"""Codex' rollout files, one record at a time, to facts.

A file is a thread: a session's own, or a sub-agent's. Two formats are known, by `history_mode` in
the first record: `paginated` says when a tool really ran (`item_completed`) and what each request
used (`token_usage_record`); without it the times are those of the lines, and what was used is the
growth of the thread's total, which comes several times. What belongs to the parent, as a fork or a
sub-agent may begin with its history, is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.codex import items, outputs, usage
from orchwatch.agents.sessions.claims import Ownership
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    NEXT_PROMPT,
    NO_END,
    Activity,
    AgentStarted,
    AgentWorked,
    ApiFailed,
    Compacted,
    Fact,
    ProjectSeen,
    PromptSubmitted,
    ProviderSeen,
    ToolCut,
    ToolEnded,
    ToolStarted,
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
    from collections.abc import Callable

    from orchwatch.agents.sessions.claims import Claims

PAGINATED = "paginated"
_MODES = ("", "legacy", PAGINATED)
_UUID_VERSION = 14  # the position of its digit: ids of version 7 begin with their time
_MAX_CALLS = 1000

# Records that say nothing about operations, or what another one says better.
_SILENT = frozenset({"world_state", "inter_agent_communication_metadata", "ghost_snapshot"})
_SILENT_EVENTS = frozenset(
    {
        "agent_reasoning_raw_content",
        "agent_reasoning_section_break",
        "context_compacted",
        "entered_review_mode",
        "exited_review_mode",
        "thread_name_updated",
        "thread_rolled_back",
        "thread_settings_applied",
        "undo_completed",
    }
)
_ALIVE_EVENTS = frozenset({"user_message", "agent_message", "agent_reasoning"})
_ALIVE_ITEMS = frozenset(
    {"message", "reasoning", "agent_message", "additional_tools", "compaction", "web_search_call"}
)
_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_STARTED = frozenset({"task_started", "turn_started"})
_COMPLETE = frozenset({"task_complete", "turn_complete"})


class Rollout(RecordReader):
    """Reads the records of one file in order.

    Args:
        session_id: The session: the thread at the root.
        agent_id: The sub-agent whose thread it is, None for the session's own.
        claims: Which session and turn each request to a model belongs to.
        state: What `state` returned when reading stopped before.
    """

    def __init__(
        self,
        session_id: str,
        agent_id: str | None,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._thread = agent_id or session_id
        state = state or {
            "version": "",
            "mode": None,  # the format, once the first record was read
            "skip": 0,  # below which ordinal all is the parent's
            "copying": False,  # what is read now was written by another thread
            "turn": None,
            "last": 0,  # its last sign of life
            "model": "",
            "previous": "",  # the thread that this one was forked from
            "worked": False,
            "calls": {},  # those of the turn: start, turn, tool, whether it is open
            "usage": {},
        }
        super().__init__(session_id, agent_id, claims, state)
        self._readers: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Fact]]] = {
            "session_meta": self._meta,
            "turn_context": self._context,
            "response_item": self._item,
            "event_msg": self._event,
            "token_usage_record": self._used,
            "compacted": self._compacted,
        }

    def _read(self, kind: str, record: dict[str, Any]) -> list[Fact]:
        reader = self._readers.get(kind)
        if reader is None:
            if kind not in _SILENT:
                self.skipped[f"unknown kind {word(kind) or '?'}"] += 1
            return []
        at = time_ns(record.get("timestamp"))
        payload = record.get("payload")
        if at is None or not isinstance(payload, dict):
            self.skipped["no time" if at is None else f"unreadable {kind}"] += 1
            return []
        if kind != "session_meta":
            if self._is_of_parent(record):
                return []
            if self._state["mode"] not in (*_MODES, None):
                self.skipped[f"unknown history_mode {self._state['mode']}"] += 1
                return []
        self._ordinal = record.get("ordinal")
        return reader(payload, self._common(payload, at))

    def _is_of_parent(self, record: dict[str, Any]) -> bool:
        state = self._state
        if state["skip"] and count(record.get("ordinal")) < state["skip"]:
            return True
        payload = record["payload"]
        if payload.get("type") in _STARTED:  # where the parent's history ends, this thread's begins
            state["copying"] = _is_older(text(payload.get("turn_id")), self._thread)
        return bool(state["copying"])

    def _common(self, payload: dict[str, Any], at: int) -> dict[str, Any]:
        """The members of the facts of a record."""
        named = text(payload.get("turn_id")) or text(
            mapping(payload.get("internal_chat_message_metadata_passthrough")).get("turn_id")
        )
        turn = named or self._state["turn"]
        common: dict[str, Any] = {"session_id": self._session_id, "time_ns": at}
        if self._agent_id:
            common["agent_id"], common["agent_turn"] = self._agent_id, turn
        else:
            common["prompt_id"] = turn
        # What comes after a turn's end is no sign of its life.
        common["passive"] = turn is None or turn != self._state["turn"]
        if not common["passive"]:
            self._state["last"] = max(self._state["last"], at)
        return common

    def _meta(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        state = self._state
        if text(payload.get("id")) != self._thread:
            state["copying"] = state["mode"] is not None
            return []
        state["copying"] = False
        state["version"] = word(payload.get("cli_version")) or state["version"]
        if state["mode"] is not None:
            return []
        state["mode"] = word(payload.get("history_mode"))
        state["skip"] = count(payload.get("subagent_history_start_ordinal"))
        state["previous"] = "" if self._agent_id else text(payload.get("forked_from_id"))
        common["passive"] = True
        facts: list[Fact] = []
        provider, project = word(payload.get("model_provider")), project_name(payload.get("cwd"))
        if provider:
            facts.append(ProviderSeen(**common, provider=provider))
        if self._agent_id:
            agent_type = _agent_type(payload)
            begun = {**common, "agent_turn": None, "passive": False}
            facts.append(AgentStarted(**begun, agent_type=agent_type))
        else:
            facts.append(ProjectSeen(**common, project=project))
        return facts

    def _context(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        """The model is about to be asked."""
        self._state["model"] = word(payload.get("model")) or self._state["model"]
        if not self._agent_id or self._state["worked"] or common["passive"]:
            return []
        self._state["worked"] = True
        return [AgentWorked(**common)]

    def _event(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        kind = text(payload.get("type"))
        if kind in _STARTED:
            return self._begin(payload, common)
        if kind in _COMPLETE or kind == "turn_aborted":
            return self._end(kind, payload, common)
        if kind == "item_completed":
            facts = items.read(payload, common, self._state["calls"])
            if facts is None:
                item = word(mapping(payload.get("item")).get("type")) or "?"
                self.skipped[f"unknown kind item {item}"] += 1
            return facts or []
        if kind == "token_count":
            return [] if self._state["mode"] == PAGINATED else self._counted(payload, common)
        if kind in _ALIVE_EVENTS:
            return [Activity(**common)]
        if kind not in _SILENT_EVENTS:
            self.skipped[f"unknown kind event {word(kind) or '?'}"] += 1
        return []

    def _begin(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        facts = self._left(NEXT_PROMPT) if self._state["turn"] else []
        turn = text(payload.get("turn_id")) or f"{self._thread}/{common['time_ns']}"
        self._state.update(turn=turn, last=common["time_ns"], calls={})
        common["agent_turn" if self._agent_id else "prompt_id"] = turn
        common["passive"] = False
        facts.append(PromptSubmitted(**common, record_id=turn, previous=self._state["previous"]))
        return facts

    def _end(self, kind: str, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        if common["passive"]:
            return []
        error_type, reason, status = "", "", 0
        if kind == "turn_aborted":
            reason = word(payload.get("reason")) or INTERRUPTED
        elif isinstance(payload.get("error"), dict):
            error_type, status = _error(payload["error"].get("codex_error_info"))
        facts: list[Fact] = [*self._cut(common["time_ns"], reason or NO_END)]
        if status:
            record_id = f"{self._state['turn']}/error"
            facts.append(
                ApiFailed(**common, record_id=record_id, error_type=error_type, status=status)
            )
        facts.append(Activity(**common))
        ended = {**common, "error_type": error_type or None, "reason": reason or None}
        first_ns = milliseconds(payload.get("time_to_first_token_ms"))
        facts.append(TurnEnded(**ended, first_ns=first_ns))
        facts.append(TurnOver(**common, reason=reason))
        self._state["turn"] = None
        return facts

    def _left(self, reason: str) -> list[Fact]:
        """Another turn begins although the one before has recorded no end."""
        over: dict[str, Any] = {"session_id": self._session_id, "time_ns": self._state["last"]}
        if self._agent_id:
            over["agent_id"], over["agent_turn"] = self._agent_id, self._state["turn"]
        else:
            over["prompt_id"] = self._state["turn"]
        return [*self._cut(self._state["last"], reason), TurnOver(**over, reason=reason)]

    def _cut(self, at: int, reason: str) -> list[Fact]:
        """The calls that a turn leaves without an output."""
        calls = self._state["calls"]
        cut = [call_id for call_id, (*_, is_open) in calls.items() if is_open]
        for call_id in cut:
            calls[call_id][3] = False
        return [
            ToolCut(
                session_id=self._session_id,
                time_ns=at,
                tool_use_id=call_id,
                reason=reason,
                agent_id=self._agent_id,
            )
            for call_id in cut
        ]

    def _item(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        kind = text(payload.get("type"))
        if kind in _CALLS:
            return self._called(kind, payload, common)
        if kind in _OUTPUTS:
            return self._answered(payload, common)
        if kind not in _ALIVE_ITEMS:
            self.skipped[f"unknown kind response_item {word(kind) or '?'}"] += 1
        return [] if common["passive"] else [Activity(**common)]

    def _called(self, kind: str, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        call_id = text(payload.get("call_id")) or text(payload.get("id"))
        name = word(payload.get("name")) or ("local_shell" if kind == "local_shell_call" else "")
        if not (call_id and name):
            self.skipped[f"unreadable {kind}"] += 1
            return []
        space = word(payload.get("namespace"))
        name = f"{space}::{name}" if space else name
        calls = self._state["calls"]
        turn = common.get("agent_turn") if self._agent_id else common["prompt_id"]
        calls[call_id] = [common["time_ns"], turn, name, True]
        while len(calls) > _MAX_CALLS:
            del calls[next(iter(calls))]
        return [ToolStarted(**common, tool_use_id=call_id, tool_name=name)]

    def _answered(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        call_id = text(payload.get("call_id"))
        call = self._state["calls"].get(call_id)
        if not call_id:
            self.skipped["unreadable output"] += 1
            return []
        name = call[2] if call else ""
        if call:
            call[3] = False
        found = outputs.read(name, payload.get("output"))
        return [
            ToolEnded(
                **common,
                tool_use_id=call_id,
                tool_name=name,
                error_type=found.error_type or None,
                outcome=found.outcome,
                exit_code=found.exit_code,
                agent=found.agent,
                background=bool(found.agent),
            )
        ]

    def _used(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        own = text(payload.get("response_id")) or f"{self._thread}/{self._ordinal}"
        return self._usage(own, _counts(payload["usage"]), common)

    def _counted(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        info = payload["info"]
        if info is None:  # nothing was used yet
            return []
        _counts(info["total_token_usage"])
        grown = usage.grown(self._state["usage"], info)
        if grown is None:
            return []
        number, used = grown
        return self._usage(f"{self._thread}/{number}", used, common)

    def _usage(self, own: str, used: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        whose = self._claims.ownership(f"codex:{own}", self._session_id, self._agent_id or "")
        if whose in (Ownership.SESSION, Ownership.TURN):
            return []
        is_fresh = whose is Ownership.FRESH
        return [usage.fact(own, self._state["model"], used, common, is_fresh=is_fresh)]

    def _compacted(self, payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        """A paginated file says how long it took, as an item of its own."""
        if self._state["mode"] == PAGINATED:
            return []
        return [Compacted(**common, record_id=f"{self._thread}/{common['time_ns']}")]


def _agent_type(meta: dict[str, Any]) -> str:
    """A sub-agent's role; one without has the name that people see."""
    spawned = mapping(mapping(meta.get("source")).get("subagent"))
    told = (meta, mapping(spawned.get("thread_spawn")))
    names = (word(one.get(key)) for key in ("agent_role", "agent_nickname") for one in told)
    return next(filter(None, names), "")


def _counts(used: dict[str, Any]) -> dict[str, Any]:
    """What a request used.

    Raises:
        KeyError, TypeError: The record does not say.
    """
    if type(used["input_tokens"]) is not int or type(used["output_tokens"]) is not int:
        raise TypeError
    return used


def _error(info: object) -> tuple[str, int]:
    """The kind of an error, and the HTTP status that the model's API answered with."""
    if isinstance(info, dict) and info:
        kind = next(iter(info))
        return word(kind) or "other", count(mapping(info[kind]).get("http_status_code"))
    return word(info) or "other", 0


def _is_older(turn: str, thread: str) -> bool:
    """Whether a turn began before its thread did, by the times in their ids."""
    both = turn[_UUID_VERSION : _UUID_VERSION + 1] + thread[_UUID_VERSION : _UUID_VERSION + 1]
    return both == "77" and turn < thread
