"""Items that a paginated rollout says are completed: when a tool really ran, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.codex.outputs import EXEC
from orchwatch.agents.sessions.facts import (
    Activity,
    AgentStarted,
    CommandRan,
    Compacted,
    Fact,
    ToolEnded,
    ToolStarted,
)
from orchwatch.agents.sessions.fields import mapping, moment_ns, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    _Calls = Mapping[str, Sequence[Any]]

_FAILED = ("failed", "declined")
_ALIVE = frozenset(
    {"UserMessage", "AgentMessage", "Reasoning", "Plan", "ImageView", "EnteredReviewMode"}
    | {"ExitedReviewMode", "HookPrompt"}
)
_COMMAND = "CommandExecution"
_IN_SCRIPT = "exec-"  # how ids of what a script runs begin; others are those of calls


def read(payload: dict[str, Any], common: dict[str, Any], calls: _Calls) -> list[Fact] | None:
    """The facts of a completed item; None where its kind is not known.

    Args:
        payload: The record's payload.
        common: The members of the facts.
        calls: The calls of the file by id: start, turn, tool, and whether it is open.
    """
    item = mapping(payload.get("item"))
    kind = text(item.get("type"))
    if kind in _ALIVE:
        return [] if common["passive"] else [Activity(**common)]
    start_ns = moment_ns(payload.get("started_at_ms"))
    done = {**common, "time_ns": moment_ns(payload.get("completed_at_ms")) or common["time_ns"]}
    reader = _READERS.get(kind)
    return None if reader is None else reader(item, done, min(start_ns, done["time_ns"]), calls)


def _tool(item: dict[str, Any], common: dict[str, Any], start_ns: int, calls: _Calls) -> list[Fact]:
    own = text(item.get("id"))
    facts = _linked(item, own, common)
    if own in calls:
        facts.append(_ended(item, own, common, start_ns))
    elif item["type"] in (_COMMAND, "FileChange") and own.startswith(_IN_SCRIPT):
        facts.append(_ran(item, {**common, "record_id": own}, start_ns or common["time_ns"], calls))
    return facts


def _ended(item: dict[str, Any], own: str, common: dict[str, Any], start_ns: int) -> ToolEnded:
    """A call's true running time."""
    return ToolEnded(
        **common,
        tool_use_id=own,
        began_ns=start_ns,
        error_type=_error_type(item) or None,
        exit_code=_exit_code(item),
    )


def _ran(item: dict[str, Any], common: dict[str, Any], start_ns: int, calls: _Calls) -> CommandRan:
    """In code mode: inside the script of the turn that ran at that time."""
    turn = common.get("agent_turn") if common.get("agent_id") else common.get("prompt_id")
    scripts = [
        (is_open, begun_ns, call_id)
        for call_id, (begun_ns, whose, tool, is_open) in calls.items()
        if tool == EXEC and whose == turn and begun_ns <= start_ns
    ]
    return CommandRan(
        **{**common, "time_ns": start_ns},
        name=semconv.COMMAND_RUN if item["type"] == _COMMAND else semconv.FILE_CHANGE,
        end_ns=common["time_ns"],
        tool_use_id=max(scripts)[2] if scripts else "",
        exit_code=_exit_code(item),
        error_type=_error_type(item),
    )


def _activity(
    item: dict[str, Any], common: dict[str, Any], _start_ns: int, _calls: _Calls
) -> list[Fact]:
    """A sub-agent of the second kind was started; its end stands in its own file."""
    agent_id, call_id = text(item.get("agent_thread_id")), text(item.get("id"))
    if item.get("kind") != "started" or not agent_id:
        return []
    return [_link(agent_id, call_id, common)]


def _compaction(
    item: dict[str, Any], common: dict[str, Any], start_ns: int, _calls: _Calls
) -> list[Fact]:
    duration_ns = common["time_ns"] - start_ns if start_ns else None
    return [Compacted(**common, record_id=text(item.get("id")), duration_ns=duration_ns)]


def _linked(item: dict[str, Any], own: str, common: dict[str, Any]) -> list[Fact]:
    """The sub-agents of the first kind that a call has started."""
    threads = item.get("receiver_thread_ids")
    if item.get("tool") != "spawn_agent" or not isinstance(threads, list):
        return []
    return [_link(text(thread), own, common) for thread in threads if text(thread)]


def _link(agent_id: str, call_id: str, common: dict[str, Any]) -> AgentStarted:
    return AgentStarted(
        session_id=common["session_id"],
        time_ns=common["time_ns"],
        agent_id=agent_id,
        tool_use_id=call_id,
        passive=True,
    )


def _search(
    item: dict[str, Any], common: dict[str, Any], start_ns: int, _calls: _Calls
) -> list[Fact]:
    own = text(item.get("id"))
    if not (own and start_ns):
        return []
    begun = {**common, "time_ns": start_ns}
    return [
        ToolStarted(**begun, tool_use_id=own, tool_name="web_search"),
        ToolEnded(**common, tool_use_id=own),
    ]


def _error_type(item: dict[str, Any]) -> str:
    """That a command fails is its exit code, and no failure of the call."""
    return "failed" if item["type"] != _COMMAND and item.get("status") in _FAILED else ""


def _exit_code(item: dict[str, Any]) -> int | None:
    code = item.get("exit_code")
    return code if type(code) is int else None


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], int, _Calls], list[Fact]]] = {
    _COMMAND: _tool,
    "FileChange": _tool,
    "CollabAgentToolCall": _tool,
    "McpToolCall": _tool,
    "DynamicToolCall": _tool,
    "ImageGeneration": _tool,
    "SubAgentActivity": _activity,
    "ContextCompaction": _compaction,
    "WebSearch": _search,
}
