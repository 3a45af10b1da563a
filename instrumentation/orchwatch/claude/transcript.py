"""Session files, one JSON line at a time, to facts.

The format is nobody's promise: every member may be missing or of another type, and kinds come and
go with versions. What is not known is counted with a reason and passed over. Nothing but ids,
names, times, counts and outcomes is taken from a line.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.claude import blocks, system_lines
from orchwatch.claude.facts import (
    Activity,
    AgentStarted,
    ApiFailed,
    CompactStarted,
    Fact,
    PromptSubmitted,
    SessionReady,
    SessionStarted,
    TurnEnded,
)
from orchwatch.claude.fields import digest, mapping, text, time_ns, word
from orchwatch.claude.prompts import INTERRUPTION, PROMPT, REQUEST, classify

if TYPE_CHECKING:
    from collections.abc import Callable

COMPACT_AGENT = "acompact-"

# Kinds that tell nothing about operations.
_SILENT = frozenset(
    {
        "agent-color",
        "agent-name",
        "agent-setting",
        "ai-title",
        "atis-latch",
        "attribution-snapshot",
        "bridge-session",
        "content-replacement",
        "custom-title",
        "file-history-delta",
        "file-history-snapshot",
        "last-prompt",
        "mode",
        "permission-mode",
        "pr-link",
        "queue-operation",
        "summary",
        "tag",
        "task-summary",
        "worktree-state",
    }
)
_FINISHED = ("end_turn", "stop_sequence", "refusal")


_MAX_LINKS = 1000


class Transcript:
    """Reads the lines of one file in order.

    Args:
        session_id: The session that the file belongs to; by default what each line says.
        agent_id: The sub-agent whose file it is, None for a session's own file.
        state: What `state` returned when reading stopped before.
        agent_type: That sub-agent's type, where something besides the file tells it.
        tool_use_id: Likewise the call that started it.
    """

    def __init__(
        self,
        session_id: str = "",
        agent_id: str | None = None,
        state: dict[str, Any] | None = None,
        *,
        agent_type: str = "",
        tool_use_id: str = "",
    ) -> None:
        self._origin: dict[str, Any] = {"agent_type": agent_type, "tool_use_id": tool_use_id}
        self._session_id = session_id
        self._agent_id = agent_id
        self._state: dict[str, Any] = state or {
            "prompt": None,  # the current prompt's id
            "pending": None,  # a command's prompt id and time: a turn only if the model answers
            "turns": {},  # by sub-agent: its current prompt
            "sides": {},  # record id to the sub-agent inside this very file (older versions)
            "stops": [],  # Stop hooks that wait for their summary
            "stopped": [],  # durations of those that were told before their summary
            "start": None,
            "ready": False,
        }
        self.skipped: Counter[str] = Counter()
        self._readers: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Fact]]] = {
            "user": self._user,
            "assistant": self._assistant,
            "system": self._system,
            "progress": self._progress,
            "attachment": self._attachment,
        }

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def read(self, line: bytes) -> list[Fact]:
        """The facts of one line; never raises."""
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            self.skipped["no JSON" if line.strip() else "blank"] += 1
            return []
        if not isinstance(parsed, dict):
            self.skipped["no JSON object"] += 1
            return []
        kind = text(parsed.get("type"))
        reader = self._readers.get(kind)
        if reader is None:
            if kind not in _SILENT:
                self.skipped[f"unknown kind {word(kind) or '?'}"] += 1
            return []
        try:
            return self._facts(parsed, reader)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError):
            self.skipped[f"unreadable {kind}"] += 1
            return []

    def _facts(
        self,
        line: dict[str, Any],
        reader: Callable[[dict[str, Any], dict[str, Any]], list[Fact]],
    ) -> list[Fact]:
        at = time_ns(line.get("timestamp"))
        if at is None:
            self.skipped["no time"] += 1
            return []
        session_id = self._session_id or text(line.get("sessionId"))
        if not session_id:
            self.skipped["no session"] += 1
            return []
        if not line.get("uuid"):
            line["uuid"] = str(at)  # some id that reading again gives again
        agent_id = self._agent_id or self._side_agent(line)
        common: dict[str, Any] = {"session_id": session_id, "time_ns": at}
        facts: list[Fact] = []
        if agent_id:
            common["agent_id"] = agent_id
            common["agent_turn"] = self._state["turns"].get(agent_id)
            common["prompt_id"] = text(line.get("promptId")) or None
        else:
            common["prompt_id"] = self._state["prompt"]
            if not self._state["ready"]:
                facts = self._begin(session_id, at)
        if self._state["stops"]:
            facts += system_lines.overdue_stops(self._state, line)
        return facts + reader(line, common)

    def _begin(self, session_id: str, at: int) -> list[Fact]:
        """A session begins with its first record; the next later one is its first activity."""
        start = self._state["start"]
        if start is None:
            self._state["start"] = at
            return [SessionStarted(session_id=session_id, time_ns=at)]
        if at <= start:
            return []
        self._state["ready"] = True
        return [SessionReady(session_id=session_id, time_ns=at)]

    def _side_agent(self, line: dict[str, Any]) -> str | None:
        """The sub-agent of a line inside a session's own file, as older versions wrote them."""
        if not line.get("isSidechain"):
            return None
        named = text(line.get("agentId"))
        if named:
            return named
        sides = self._state["sides"]
        own = text(line.get("uuid"))
        agent_id = sides.get(text(line.get("parentUuid"))) or f"side-{own}"
        sides[own] = agent_id
        while len(sides) > _MAX_LINKS:
            del sides[next(iter(sides))]
        return str(agent_id)

    def _user(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        content = mapping(line.get("message")).get("content")
        given = content if isinstance(content, list) else []
        results = [block for block in given if mapping(block).get("type") == "tool_result"]
        facts: list[Fact] = [
            blocks.answer(block, line if len(results) == 1 else {}, common) for block in results
        ]
        if results:
            return facts
        if common.get("agent_id"):
            return self._agent_prompt(line, content, common)
        return self._prompt(line, content, common)

    def _agent_prompt(
        self, line: dict[str, Any], content: object, common: dict[str, Any]
    ) -> list[Fact]:
        if line.get("isMeta"):  # context that was copied into the sub-agent, with its old times
            return []
        agent_id = common["agent_id"]
        told = ""
        first = agent_id not in self._state["turns"]
        if first:
            told = digest(content)
        kind, _ = classify(line, content)
        facts: list[Fact] = [AgentStarted(**common, task_digest=told, **self._origin)]
        if kind in (PROMPT, REQUEST) or first:
            self._state["turns"][agent_id] = common["agent_turn"] = text(line.get("uuid"))
            facts.append(PromptSubmitted(**common, derived=True))
        if agent_id.startswith(COMPACT_AGENT):
            started = {"session_id": common["session_id"], "time_ns": common["time_ns"]}
            facts.append(CompactStarted(**started, prompt_id=common["prompt_id"]))
        return facts

    def _prompt(self, line: dict[str, Any], content: object, common: dict[str, Any]) -> list[Fact]:
        kind, prompt_id = classify(line, content)
        known = bool(line.get("promptId"))
        if kind == INTERRUPTION:
            return [TurnEnded(**common, reason="interrupted")]
        if kind == PROMPT and prompt_id != self._state["prompt"]:
            return [self._turn(common, prompt_id, common["time_ns"], derived=not known)]
        if kind == REQUEST and prompt_id != self._state["prompt"]:
            self._state["pending"] = [prompt_id, common["time_ns"], not known]
            return []
        return [Activity(**common)] if common["prompt_id"] else []

    def _turn(
        self, common: dict[str, Any], prompt_id: str, at: int, *, derived: bool
    ) -> PromptSubmitted:
        self._state["prompt"] = common["prompt_id"] = prompt_id
        self._state["pending"] = None
        return PromptSubmitted(
            session_id=common["session_id"], prompt_id=prompt_id, time_ns=at, derived=derived
        )

    def _assistant(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        facts: list[Fact] = []
        if not common.get("agent_id") and self._state["pending"]:
            prompt_id, at, derived = self._state["pending"]
            facts.append(self._turn(common, prompt_id, at, derived=derived))
        message = mapping(line.get("message"))
        if line.get("isApiErrorMessage"):
            error = word(line.get("error")) or "api_error"
            failed = ApiFailed(**common, record_id=text(line.get("uuid")), error_type=error)
            return [*facts, failed, TurnEnded(**common, error_type=error)]
        content = message.get("content")
        given = content if isinstance(content, list) else []
        kinds = set()
        for block in map(mapping, given):
            kinds.add(block.get("type"))
            if block.get("type") == "tool_use" and text(block.get("id")):
                facts.append(blocks.call(block, common))
        done = message.get("stop_reason") in _FINISHED
        last = 0 if "tool_use" in kinds or (not done and kinds != {"text"}) else 1 + done
        facts.append(Activity(**common, last=last))
        usage = mapping(message.get("usage"))
        if usage and message.get("model") != "<synthetic>":
            facts.append(blocks.usage(message, usage, common))
        return facts

    def _system(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        facts = system_lines.read(line, common, self._state)
        if facts is None:
            self.skipped[f"unknown kind system/{word(line.get('subtype')) or '?'}"] += 1
            return []
        return facts

    def _progress(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        data = mapping(line.get("data"))
        kind = data.get("type")
        if kind == "hook_progress":
            return system_lines.hook_progress(line, data, common, self._state)
        agent_id = text(data.get("agentId"))
        if kind == "agent_progress" and agent_id:
            link = {**common, "agent_id": agent_id, "agent_turn": None}
            return [AgentStarted(**link, tool_use_id=text(line.get("parentToolUseID")))]
        return [Activity(**common)]

    def _attachment(self, line: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
        return system_lines.attachment(line, mapping(line.get("attachment")), common, self._state)
