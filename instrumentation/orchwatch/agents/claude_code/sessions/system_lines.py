"""Lines that Claude Code writes about itself: hooks, compactions, failures, ends of turns."""

from __future__ import annotations

from typing import Any

from orchwatch.agents.claude_code.sessions import api_errors
from orchwatch.agents.claude_code.settings.hook_wrapping import is_wrapped_command
from orchwatch.agents.claude_code.settings.plugins import plugin_of
from orchwatch.agents.sessions.facts import (
    MICRO,
    Activity,
    ApiFailed,
    Compacted,
    Fact,
    HookRan,
    TurnEnded,
)
from orchwatch.agents.sessions.fields import count, mapping, milliseconds, text

_SILENT = frozenset(
    {
        "agents_killed",
        "away_summary",
        "bridge_status",
        "informational",
        "init",
        "local_command",
        "memory_saved",
        "model_refusal_fallback",
        "scheduled_task_fire",
    }
)
_ENDS = ("Stop", "StopFailure", "SubagentStop", "PreToolUse", "PostToolUse", "PostToolUseFailure")
_STARTS = ("startup", "resume", "clear", "fork")
# A hook that exits with 2, or whose JSON ends the turn, has done its work.
_OBJECTIONS = ("hook_blocking_error", "hook_stopped_continuation")
_TRIGGERS = ("auto", "manual")
_NS_PER_MS = 1_000_000


def read(line: dict[str, Any], common: dict[str, Any], state: dict[str, Any]) -> list[Fact] | None:
    """The facts of a `system` line; None when its kind is unknown."""
    kind = line.get("subtype")
    if kind in ("compact_boundary", "microcompact_boundary"):
        return [_compacted(line, common, micro=kind != "compact_boundary")]
    if kind == "api_error":
        return [_failed(line, common)]
    if kind == "turn_duration":
        return [TurnEnded(**common)]
    if kind == "stop_hook_summary":
        end = Activity(**common) if objected(line) else TurnEnded(**common)
        hooks = _stop_hooks(line, common, state)
        return [*hooks, *([] if common.get("passive") else [end])]
    return [] if kind in _SILENT else None


def objected(line: dict[str, Any]) -> bool:
    """Whether a Stop hook made the model go on; only another error of a hook looks the same."""
    return bool(line.get("hookErrors")) and not line.get("preventedContinuation")


def hook_progress(
    line: dict[str, Any], data: dict[str, Any], common: dict[str, Any], state: dict[str, Any]
) -> list[Fact]:
    """A hook was started; when it ended stands at most in a later summary."""
    event, name = text(data.get("hookEvent")), text(data.get("hookName"))
    fields = {
        **common,
        "record_id": text(line.get("uuid")),
        "event": event,
        "name": name,
        "plugin": plugin_of(data.get("command")),
        "tool_use_id": text(line.get("toolUseID")) if "ToolUse" in event else "",
        "prompt_id": _turn_of(common, event, name),
    }
    fields["of_call"] = fields["tool_use_id"] in state["calls"]
    if is_wrapped_command(text(data.get("command"))):
        return []  # it records itself
    if event == "Stop":
        state["stops"].append(fields)
        return []
    facts: list[Fact] = [HookRan(**fields)]
    if "ToolUse" in event:
        facts.append(Activity(**common))
    return facts


def overdue_stops(state: dict[str, Any], line: dict[str, Any]) -> list[Fact]:
    """Stop hooks whose summary did not come: another line stands where it should."""
    if line.get("subtype") == "stop_hook_summary":
        return []
    if mapping(line.get("data")).get("hookEvent") == "Stop":
        return []
    waiting, state["stops"] = state["stops"], []
    return [HookRan(**fields) for fields in waiting]


def attachment(
    line: dict[str, Any], attached: dict[str, Any], common: dict[str, Any], state: dict[str, Any]
) -> list[Fact]:
    """What newer versions write when a hook is done."""
    kind = text(attached.get("type"))
    duration_ns = milliseconds(attached.get("durationMs"))
    if not kind.startswith("hook_") or duration_ns is None:
        return []
    event = text(attached.get("hookEvent"))
    blocked = kind in _OBJECTIONS
    failed = not blocked and ("error" in kind or "cancelled" in kind)
    if event == "Stop":
        state["stopped"].append(duration_ns)
    if is_wrapped_command(text(attached.get("command"))):
        return []  # it has recorded itself
    hook = {
        **common,
        "time_ns": common["time_ns"] - duration_ns,
        "record_id": text(line.get("uuid")),
        "event": event,
        "name": text(attached.get("hookName")),
        "plugin": plugin_of(attached.get("command")),
        "end_ns": common["time_ns"],
        "error_type": kind if failed else None,
        "blocked": blocked,
        "tool_use_id": text(attached.get("toolUseID")) if "ToolUse" in event else "",
        "prompt_id": _turn_of(common, event, text(attached.get("hookName"))),
    }
    return [HookRan(**hook, of_call=hook["tool_use_id"] in state["calls"])]


def _turn_of(common: dict[str, Any], event: str, name: str) -> str | None:
    """The turn that a hook belongs to: after the end only what hangs on the end itself."""
    found: str | None = common.get("prompt_id")
    if event == "SessionStart" and name.rpartition(":")[2] in _STARTS:
        return None  # the session's, not the turn's before
    if common.get("passive") and "agent_id" not in common and event not in _ENDS:
        return None
    return found


def _stop_hooks(line: dict[str, Any], common: dict[str, Any], state: dict[str, Any]) -> list[Fact]:
    """The Stop hooks that this summary closes, each with its own duration where recorded."""
    waiting, state["stops"] = state["stops"], []
    durations_seen, state["stopped"] = state["stopped"], []
    infos = line.get("hookInfos")
    measured = [
        (milliseconds(mapping(info).get("durationMs")), plugin_of(mapping(info).get("command")))
        for info in (infos if isinstance(infos, list) else [])
        if not is_wrapped_command(text(mapping(info).get("command")))
    ]
    durations = [duration_ns for duration_ns, _ in measured]
    at = common["time_ns"]
    if not waiting:
        for duration_ns in durations_seen:
            if duration_ns in durations:
                del measured[durations.index(duration_ns)]
                durations.remove(duration_ns)
        waiting = [
            {
                **common,
                "time_ns": at - duration_ns,
                "record_id": f"{text(line.get('uuid'))}/{number}",
                "event": "Stop",
                "name": "Stop",
                "plugin": plugin,
            }
            for number, (duration_ns, plugin) in enumerate(measured)
            if duration_ns is not None
        ]
        durations = [duration_ns for duration_ns in durations if duration_ns is not None]
    durations += [None] * (len(waiting) - len(durations))
    return [
        HookRan(**fields, end_ns=at if duration_ns is None else fields["time_ns"] + duration_ns)
        for fields, duration_ns in zip(waiting, durations, strict=False)
    ]


def _compacted(line: dict[str, Any], common: dict[str, Any], *, micro: bool) -> Compacted:
    details = mapping(line.get("microcompactMetadata" if micro else "compactMetadata"))
    trigger = details.get("trigger")
    return Compacted(
        **common,
        record_id=text(line.get("uuid")),
        trigger=MICRO if micro else trigger if trigger in _TRIGGERS else "",
        tokens=count(details.get("preTokens")),
        duration_ns=milliseconds(details.get("durationMs")),
    )


def _failed(line: dict[str, Any], common: dict[str, Any]) -> ApiFailed:
    kind, status = api_errors.of_retry(line)
    return ApiFailed(
        **common,
        record_id=text(line.get("uuid")),
        error_type=kind,
        status=status,
        attempt=count(line.get("retryAttempt")),
        delay_s=(milliseconds(line.get("retryInMs")) or 0) / _NS_PER_MS / 1000,
    )
