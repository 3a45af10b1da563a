"""The phase that Grafana takes a call path for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchwatch.mixin.dashboards import turns

REPLACED = re.compile(
    r'"phase", "(?P<phase>[a-z]+)", "orchestration_call_path", "(?P<pattern>(?:[^"\\\\]|\\\\.)*)"\)'
)


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("agent.turn", "model"),
        ("agent.turn;Bash", "tools"),
        ("agent.turn;user.wait", "person"),
        ("agent.turn;Bash;PreToolUse check.sh", "hooks"),
        ("agent.turn;Stop", "hooks"),
        ("agent.turn;invoke_agent Explore [Explore]", "model"),
        ("agent.turn;invoke_agent Explore [Explore];Notify [x]", "tools"),
        ("agent.turn;invoke_agent Explore [Explore];agent.turn", "model"),
        ("agent.turn;invoke_agent Explore [Explore];user.wait [Explore]", "person"),
        ("agent.turn;chat gpt-5.5", "model"),
        ("agent.turn;chat gpt-5.5;PostgresQuery", "tools"),
        ("agent.turn;context.compact", "compaction"),
    ],
)
def test_a_call_path_is_of_one_phase(path: str, phase: str) -> None:
    built: Any = turns.phases().build()
    (target,) = built.targets
    found = "tools"
    for replaced in REPLACED.finditer(target.expr):
        pattern = replaced["pattern"].replace("\\\\", "\\")
        if re.fullmatch(pattern, path):
            found = replaced["phase"]
    assert found == phase
