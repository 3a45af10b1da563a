from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.demo.policy import BATCH_POLICY
from orchwatch.runtime import hooks
from orchwatch.runtime.hooks import Hook, HookError, HookResult
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def run(source: str, timeout_s: float = 60.0) -> HookResult:
    hook = Hook(command=(sys.executable, "-c", source), timeout_s=timeout_s)
    return hooks.process(hook, "PostToolUse", {"session_id": "s", "tool_name": "Read"})


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_hook_reads_the_event_on_standard_input() -> None:
    result = run("import sys; print(sys.stdin.read())")
    assert result.output is not None
    assert result.output["hook_event_name"] == "PostToolUse"
    assert result.output["tool_name"] == "Read"


@pytest.mark.parametrize(
    ("source", "outcome", "exit_code"),
    [
        ("pass", "ok", 0),
        ("import sys; sys.exit('no: ' + 'x') if 0 else sys.exit(2)", "blocked", 2),
        ("import sys; sys.exit(1)", "failed", 1),
        ("import os; os.abort()", "failed", -6),
    ],
)
def test_the_exit_code_decides(source: str, outcome: str, exit_code: int) -> None:
    result = run(source)
    assert (result.outcome, result.exit_code) == (outcome, exit_code)


def test_a_refusal_carries_its_reason() -> None:
    result = run("import sys; print('not today', file=sys.stderr); sys.exit(2)")
    assert (result.outcome, result.reason) == ("blocked", "not today")


@pytest.mark.parametrize("text", ["done", "{broken", ""])
def test_output_that_is_no_json_object_is_no_error(text: str) -> None:
    result = run(f"print({text!r})")
    assert (result.outcome, result.output) == ("ok", None)


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    source = f"""
import subprocess, sys
child = subprocess.Popen(["sleep", "60"])
open({str(note)!r}, "w").write(str(child.pid))
child.wait()
"""
    started = time.monotonic()
    # Long enough for it to have started the other.
    result = run(source, timeout_s=3.0)
    assert (result.outcome, result.exit_code) == ("timeout", None)
    assert time.monotonic() - started < 30
    assert is_gone(int(note.read_text()))


def test_a_command_that_does_not_exist_is_one_clear_error() -> None:
    with pytest.raises(HookError, match="hook /nowhere/hook cannot be run: No such file"):
        hooks.process(Hook(command=("/nowhere/hook",)), "Stop", {})


def test_a_hook_that_does_not_read_its_input_is_no_error() -> None:
    result = hooks.process(Hook(command=("true",)), "Stop", {"text": "x" * 1_000_000})
    assert result.outcome == "ok"


def test_a_hook_is_recorded_with_its_name_its_event_and_outcome() -> None:
    with capture() as captured:
        run("import sys; sys.exit(2)")
        run("import sys; sys.exit(3)")
    blocked, failed = captured.operations
    assert (blocked.name, blocked.error_type) == ("hook.process", "")
    assert blocked.attributes["orchestration.hook.event_name"] == "PostToolUse"
    assert blocked.attributes["orchestration.hook.name"] == os.path.basename(sys.executable)
    assert blocked.attributes["orchestration.hook.outcome"] == "blocked"
    assert failed.error_type == "hook_failed"
    assert failed.attributes["process.exit.code"] == 3


@pytest.mark.parametrize(
    ("event", "files", "outcome", "reason"),
    [
        ("PreToolUse", ["ast.py", "json/decoder.py"], "ok", ""),
        ("PreToolUse", ["/etc/passwd"], "blocked", "'/etc/passwd' lies outside the library"),
        ("PreToolUse", ["a/../../b.py"], "blocked", "'a/../../b.py' lies outside the library"),
        ("PreToolUse", ["ast.pyc"], "blocked", "'ast.pyc' is no Python source file"),
        ("PreToolUse", [], "blocked", "tool_input.files must name the files to read"),
        ("SessionEnd", [], "ok", ""),
    ],
)
def test_the_policy_lets_agents_read_library_files_only(
    event: str, files: list[str], outcome: str, reason: str
) -> None:
    result = hooks.process(BATCH_POLICY, event, {"tool_input": {"files": files}})
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "1", None])
def test_a_timeout_that_is_none_is_refused(timeout_s: Any) -> None:
    with pytest.raises(HookError, match="timeout_s must be a finite number of seconds above 0"):
        Hook(command=("true",), timeout_s=timeout_s)
