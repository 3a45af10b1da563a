"""Kinds of Copilot CLI's events that hold nothing of their own."""

from __future__ import annotations

SILENT = frozenset(
    f"session.{kind}"
    for kind in (
        "idle",
        "info",
        "warning",
        "model_change",
        "mode_changed",
        "plan_changed",
        "workspace_file_changed",
        "handoff",
        "truncation",
        "snapshot_rewind",
        "usage_info",
        "context_changed",
        "title_changed",
        "task_complete",
    )
) | frozenset(
    {
        "system.message",
        "system.notification",
        "pending_messages.modified",
        "skill.invoked",
        "subagent.configured",
        "subagent.selected",
        "subagent.deselected",
    }
)
ALIVE = frozenset(
    {
        "assistant.intent",
        "assistant.reasoning",
        "tool.execution_partial_result",
        "tool.execution_progress",
        "tool.user_requested",
    }
)
