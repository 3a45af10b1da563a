"""Events of Copilot CLI that stand for themselves: compactions, questions, hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions.facts import Compacted, CompactStarted, Fact, HookRan, InputAsked
from orchwatch.agents.sessions.fields import count, text, word

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], list[Fact]]

_MAX_KEPT = 1000


class Incidents:
    """Those of one file.

    Args:
        state: What `events.Events` keeps: `hooks` holds when each that runs began.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def readers(self) -> dict[str, Read]:
        """Who reads which kind: its record, that one's data, the members of its facts."""
        return {
            "session.compaction_start": self._compacting,
            "session.compaction_complete": self._compacted,
            "user_input.requested": self._input,
            "user_input.completed": self._input,
            "elicitation.requested": self._input,
            "elicitation.completed": self._input,
            "hook.start": self._hook_started,
            "hook.end": self._hook_ended,
        }

    def _compacting(
        self, _record: dict[str, Any], _data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        return [CompactStarted(**common)]

    def _compacted(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        if data.get("success") is False:
            return []
        return [
            Compacted(
                **common,
                record_id=text(record.get("id")),
                trigger=word(data.get("trigger")),
                tokens=count(data.get("preCompactionTokens")),
            )
        ]

    def _input(
        self, record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        own, is_answer = text(data.get("requestId")), str(record["type"]).endswith("completed")
        return [InputAsked(**common, input_id=own, answered=is_answer)] if own else []

    def _hook_started(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        hooks = self._state["hooks"]
        hooks[text(data.get("hookInvocationId"))] = common["time_ns"]
        while len(hooks) > _MAX_KEPT:
            del hooks[next(iter(hooks))]
        return []

    def _hook_ended(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        own, event = text(data.get("hookInvocationId")), word(data.get("hookType"))
        start_ns = self._state["hooks"].pop(own, None)
        if start_ns is None:
            raise ValueError(own)
        ran = HookRan(
            **{**common, "time_ns": start_ns},
            record_id=own,
            event=event,
            name=event,
            end_ns=common["time_ns"],
            error_type="hook_error" if data.get("success") is False else None,
        )
        return [ran]
