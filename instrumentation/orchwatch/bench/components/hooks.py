"""Hooks: a process that reads its event, and lets it pass."""

from __future__ import annotations

import sys

from orchwatch import semconv
from orchwatch.bench.case import Case, IterationError
from orchwatch.runtime import hooks

_PROGRAM = "import json, sys; sys.exit(json.load(sys.stdin)['tool_name'] != 'Read')"
_HOOK = hooks.Hook(command=(sys.executable, "-I", "-S", "-c", _PROGRAM), timeout_s=30.0)
_EVENT = {"session_id": "bench", "tool_name": "Read", "tool_input": {"file_path": "README.md"}}


class HookProcess(Case):
    """Runs the hook once."""

    operation = semconv.HOOK_PROCESS

    def run(self) -> None:
        result = hooks.process(_HOOK, "PreToolUse", _EVENT)
        if result.outcome != "ok":
            raise IterationError(f"the hook {result.outcome}: {result.reason}")
