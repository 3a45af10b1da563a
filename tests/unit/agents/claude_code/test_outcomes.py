"""What hindered a tool call is an outcome of its own, and spends no error budget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.test_assembler import assemble, by_name, read_facts

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.agents.claude_code.conftest import Recording

REJECTED = "The user doesn't want to proceed with this tool use. The tool use was rejected"
CONFIG = {"decision": "reject", "source": "config"}
UNSET, OK, ERROR = 0, 1, 2


def answer(session: Recording, told: str, members: dict[str, Any], *, is_error: bool) -> None:
    block = {"type": "tool_result", "tool_use_id": "t1", "is_error": is_error, "content": told}
    session.prompt(0)
    session.call(1, "t1")
    session.write(2, type="user", message={"content": [block]}, **members)
    session.say(3)


@pytest.mark.parametrize(
    ("told", "members", "outcome"),
    [
        (REJECTED, {"toolDenialKind": "user-rejected", "toolDenialBeforeRun": True}, "user"),
        (REJECTED, {"remoteToolDenialKind": "user-rejected"}, "interrupted"),
        (REJECTED, {"toolDenialKind": "user-rejected"}, "interrupted"),
        (
            REJECTED,
            {
                "toolDenialKind": "user-rejected",
                "permissionDecision": {"decision": "reject", "source": "user_reject"},
            },
            "user",
        ),
        (REJECTED, {}, "user"),
        ("no", {"toolDenialKind": "permission-rule", "permissionDecision": CONFIG}, "rule"),
        ("no", {"toolDenialKind": "automode-blocked"}, "rule"),
        ("no", {"toolDenialKind": "automode-unavailable"}, "rule"),
        ("no", {"toolDenialKind": "automode-parsing-error"}, "rule"),
        ("Permission to use Bash with command x has been denied.", {}, "rule"),
        ("Permission for this action has been denied. Reason: y", {}, "rule"),
        (
            "no",
            {
                "toolDenialKind": "permission-rule",
                "permissionDecision": {"decision": "reject", "source": "hook"},
            },
            "hook",
        ),
        (
            "PreToolUse:Bash hook error: [x]: no way",
            {"toolDenialKind": "permission-rule", "permissionDecision": CONFIG},
            "hook",
        ),
        ("PreToolUse:mcp__a__b hook error: [x]: no way", {}, "hook"),
        ("Hook PreToolUse:Bash denied this tool", {}, "hook"),
        ("[Request interrupted by user for tool use]", {}, "interrupted"),
        ("[Tool call interrupted: the session ended", {"toolDenialKind": "interrupted"}, "inter"),
        ("[Tool call skipped: the turn paused", {}, "cancelled"),
        ("<tool_use_error>Cancelled: parallel tool call", {}, "cancelled"),
        ("no", {"toolDenialKind": "cancelled"}, "cancelled"),
    ],
)
def test_what_hindered_a_call_is_its_outcome(
    session: Recording, told: str, members: dict[str, Any], outcome: str
) -> None:
    answer(session, told, members, is_error=True)
    span = by_name(assemble(read_facts(session.path)))["execute_tool Bash"]
    assert outcome in str(span.attributes["orchestration.outcome"])
    assert (span.error_type, span.status) == ("", UNSET)


@pytest.mark.parametrize("told", ["Exit code 1", "the hook error: x", "a denied request", ""])
def test_a_call_that_failed_has_failed(session: Recording, told: str) -> None:
    answer(session, told, {"permissionDecision": {"source": "config"}}, is_error=True)
    span = by_name(assemble(read_facts(session.path)))["execute_tool Bash"]
    assert (span.error_type, span.status) == ("tool_error", ERROR)
    assert "orchestration.outcome" not in span.attributes


def test_a_call_that_went_well_has_no_outcome_whatever_it_says(session: Recording) -> None:
    answer(session, REJECTED, {}, is_error=False)
    span = by_name(assemble(read_facts(session.path)))["execute_tool Bash"]
    assert (span.error_type, span.status) == ("", OK)


def test_a_no_is_no_error_of_any_command(
    session: Recording,
    run_import: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    home: Any,  # noqa: ARG001 - it is imported to
) -> None:
    answer(session, "no", {"toolDenialKind": "permission-rule"}, is_error=True)
    assert not run_import(session.path).failed
    window = ["--since", "2020-01-01", "--format", "json"]
    assert main(["current", *window]) == 0
    operations = json.loads(capsys.readouterr().out)["operations"]
    assert (operations["tool.execute"]["count"], operations["tool.execute"]["errors"]) == (1, 0)
    assert main(["sessions", *window]) == 0
    (told,) = json.loads(capsys.readouterr().out)["sessions"]
    assert told["errors"] == 0
