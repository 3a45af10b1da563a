"""A terminal of 40 columns has an answer that fits it, and no figure is left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main
from orchwatch.recording.safe_text import width

if TYPE_CHECKING:
    from tests.unit.conftest import Record

COMMANDS = ("current", "sessions", "agents", "traces", "hooks")
# Of whose figures not all are the same each time, or in each width.
OTHERS = (
    "tokens",
    "tokens --by agent",
    "forecast",
    "kpi list",
    "trace",
    "trace --failed",
    "critical-path",
    "flame",
)
LONG = "a-name-that-nobody-would-shorten-and-that-is-given-all-the-same-by-some-program"


@pytest.fixture
def filled(home: object, record: Record) -> None:
    assert home
    for number in range(3):
        record(
            "tool.execute",
            duration_ns=123_456_789_000,
            end_ns=NOW_NS - number,
            failed=number == 1,
            attributes={
                "session.id": f"8463c716-a2ea-4c14-9efa-87158ebd9f2{number}",
                "gen_ai.agent.name": "code-reviewer-of-the-backend",
                "gen_ai.agent.id": "a7be2f0",
                "orchestration.project.name": "日本のプロジェクト",
                "orchestration.hook.name": "a hook with a name",
            },
        )
        record("hook.process", attributes={"orchestration.hook.name": "check.py"})


def told(command: str, columns: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("NO_COLOR", "1")
        assert main([*command.split(), "--since", "all"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [30, 40, 60, 79, 80, 200])
def test_no_line_is_longer_than_the_terminal(
    command: str, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(command, columns, capsys)
    assert [line for line in lines if width(line) > min(columns, 80)] == []


@pytest.fixture
def long_named(home: object, record: Record) -> None:
    assert home
    for name in (f"own.{LONG}", "agent.turn", "hook.process"):
        record(
            name,
            failed=name == "agent.turn",
            attributes={
                "session.id": f"s-{LONG}",
                "gen_ai.agent.name": f"agent-{LONG}",
                "gen_ai.response.model": f"model-{LONG}",
                "gen_ai.usage.input_tokens": 123_456,
                "orchestration.project.name": f"プロジェクト{LONG}",
                "orchestration.hook.name": f"/usr/bin/{LONG}.sh",
            },
        )


@pytest.mark.usefixtures("long_named")
@pytest.mark.parametrize("command", [*COMMANDS, *OTHERS])
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_only_a_name_is_longer_than_the_line_and_figures_stand_below_it(
    command: str, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(command, columns, capsys)
    long = [line for line in lines if width(line) > min(columns, 80)]
    figure = re.compile(r"\d(?:ns|µs|ms|s|%|k|M)?(?:\s|$)")
    assert [line for line in long if figure.search(line) and not line.startswith("+")] == []
    if command in {"current", "hooks", "trace", "tokens"}:
        assert any(LONG in line for line in lines)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_narrow_one_shows_the_same_figures(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def figures(columns: int) -> set[str]:
        text = " ".join(told(command, columns, capsys))
        return set(re.findall(r"[0-9]\S*", re.sub(r"\d\d:\d\d(:\d\d)?|GiB|MiB|KiB", "", text)))

    if command == "current":  # its levels are measured anew each time
        assert "2m03s" in figures(40)
    else:
        assert figures(80) <= figures(40)
