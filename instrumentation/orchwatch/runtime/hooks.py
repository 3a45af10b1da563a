"""Hooks: commands that get an event on standard input and may refuse it.

Exit codes as Claude Code reads them: 0 is fine, 2 refuses, anything else is an error that stops
nothing. https://code.claude.com/docs/en/hooks
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import hook_names
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import child_environment
from orchwatch.runtime import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_EXIT_CODE = 2
DEFAULT_TIMEOUT_S = 600.0
PIPES_TIMEOUT_S = 1.0

Outcome = Literal["ok", "blocked", "failed", "timeout"]


class HookError(OrchwatchError):
    """A hook cannot be run at all; the message names its command, or the rule that it breaks."""


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A command that gets events.

    Attributes:
        command: Program and arguments; no shell is involved.
        timeout_s: After so many seconds it is killed, with everything it started.
    """

    command: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __post_init__(self) -> None:
        timeout_s = self.timeout_s
        if type(timeout_s) not in {int, float} or not 0 < timeout_s <= threading.TIMEOUT_MAX:
            raise HookError(
                f"a hook's timeout_s must be a finite number of seconds above 0, not {timeout_s!r}"
            )


@dataclass(frozen=True, kw_only=True)
class HookResult:
    """How a hook ended.

    Attributes:
        outcome: `blocked` is a decision; `failed` and `timeout` stop nothing.
        exit_code: None where it was killed for taking too long.
        reason: What it wrote to standard error.
        output: The JSON object it wrote to standard output, if it wrote one.
    """

    outcome: Outcome
    exit_code: int | None
    reason: str
    output: dict[str, Any] | None


def process(hook: Hook, event_name: str, fields: Mapping[str, Any]) -> HookResult:
    """Run a hook for an event, from trigger to completion.

    Args:
        hook: What to run.
        event_name: E.g. `PreToolUse`.
        fields: Further fields of the hook's input, JSON.

    Raises:
        HookError: The command cannot be started.
    """
    named = {
        semconv.HOOK_EVENT_NAME: event_name,
        semconv.HOOK_NAME: hook_names.of_command(list(hook.command)),
    }
    with operation(semconv.HOOK_PROCESS, named) as op:
        payload = json.dumps({"hook_event_name": event_name, "cwd": str(Path.cwd()), **fields})
        result = _run(hook, payload.encode())
        op.set_attribute(semconv.HOOK_OUTCOME, result.outcome)
        if result.exit_code is not None:
            op.set_attribute(semconv.PROCESS_EXIT_CODE, result.exit_code)
        if result.outcome in {"failed", "timeout"}:
            op.fail(f"hook_{result.outcome}")
        return result


def _run(hook: Hook, payload: bytes) -> HookResult:
    process: subprocess.Popen[bytes] | None = None
    try:
        with signals.held_back():
            process = _start(hook)
        out, err = process.communicate(payload, hook.timeout_s)
    except subprocess.TimeoutExpired:
        reason = f"took longer than {hook.timeout_s:g} s"
        return HookResult(outcome="timeout", exit_code=None, reason=reason, output=None)
    finally:
        if process is not None and process.returncode is None:
            _kill(process)
    outcome: Outcome = "failed"
    if process.returncode == 0:
        outcome = "ok"
    elif process.returncode == BLOCK_EXIT_CODE:
        outcome = "blocked"
    reason = err.decode(errors="replace").strip()
    output = _json_object(out) if outcome == "ok" else None
    return HookResult(outcome=outcome, exit_code=process.returncode, reason=reason, output=output)


def _start(hook: Hook) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
            process_group=0,
        )
    except OSError as error:
        raise HookError(f"hook {hook.command[0]} cannot be run: {error.strerror}") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the hook and all it started, which may hold its pipes open."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=PIPES_TIMEOUT_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait(PIPES_TIMEOUT_S)


def _json_object(out: bytes) -> dict[str, Any] | None:
    if not out.lstrip().startswith(b"{"):
        return None
    try:
        output: dict[str, Any] = json.loads(out)
    except ValueError:
        return None
    return output
