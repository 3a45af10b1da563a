from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")


def test_hooks_are_listed_with_what_a_turn_would_take_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with operation("agent.turn"), operation("hook.process", {"orchestration.hook.name": "check"}):
        pass
    assert main(["hooks"]) == 0
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "hook",
        "runs",
        "p50",
        "p95",
        "failed",
        "late",
        "of",
        "turns",
        "turn",
        "without",
    ]
    assert row.split()[:2] == ["check", "1"]
    assert main(["hooks", "--format", "json"]) == 0
    (hook,) = json.loads(capsys.readouterr().out)["hooks"]
    assert hook["turn_without_s"] < hook["turn_s"]


def test_without_a_hook_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No hook is stored in ")
    assert said.endswith("in the last 24h; --since all looks at all there is.\n")
    with operation("state.query"):
        pass
    assert main(["hooks", "--operation", "state.query"]) == 0
    assert "--operation state.query" in capsys.readouterr().out


def test_a_name_is_shown_whole_and_obeyed_by_no_terminal(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "long" * 20 + "\x1b[2J\nnext"
    record("hook.process", attributes={"orchestration.hook.name": name})
    record(None, name="hook.process")
    assert main(["hooks"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "long" * 20 + "\\x1b[2J\\nnext\n" in out
    assert all(len(line) <= 80 or line.startswith("long") for line in out.splitlines())
    assert "Of 1 run the time is unknown" in out
