"""What a session says that it has cost, each time that Claude Code ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import SESSION, START_S, Recording

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).parents[5] / "shared" / "data" / "claude-2.1.328"


def cost(session: Recording, usd: float, total_s: float, **members: Any) -> None:
    line = {
        "type": "cost-state",
        "sessionId": session.session_id,
        "totalCostUSD": usd,
        "totalAPIDuration": usd * 100_000,
        "totalToolDuration": 500,
        "totalDuration": total_s * 1000,
        "startTime": START_S * 1000,
        "modelUsage": {"model-1": {"costUSD": usd / 4}, "model-2": {"costUSD": usd * 3 / 4}},
        **members,
    }
    session.raw(json.dumps(line) + "\n")


@pytest.fixture
def sessions(
    capsys: pytest.CaptureFixture[str],
    home: Path,  # noqa: ARG001 - they are imported to
) -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Imports and lists them."""

    def read(*paths: Path) -> dict[str, dict[str, Any]]:
        assert main(["claude", "import", *map(str, paths)]) == 0
        capsys.readouterr()
        assert main(["sessions", "--limit", "0", "--format", "json"]) == 0
        told = json.loads(capsys.readouterr().out)["sessions"]
        return {one["id"]: one for one in told}

    return read


def test_it_is_listed_with_each_models_part(session: Recording, sessions: Any) -> None:
    session.prompt(0)
    session.say(1)
    cost(session, 0.5, 2)
    told = sessions(session.path)[SESSION]
    assert (told["cost_usd"], told["api_s"], told["tools_s"]) == (0.5, 50.0, 0.5)
    assert told["models_usd"] == {"model-1": 0.125, "model-2": 0.375}


def test_a_session_that_is_resumed_counts_once(session: Recording, sessions: Any) -> None:
    session.prompt(0)
    session.say(1)
    cost(session, 0.5, 2)
    cost(session, 0.5, 2.01)  # it is written twice
    assert sessions(session.path)[SESSION]["cost_usd"] == 0.5
    session.prompt(60)
    session.say(61)
    cost(session, 0.75, 4)
    told = sessions(session.path)[SESSION]
    assert (told["cost_usd"], told["api_s"], told["tools_s"]) == (0.75, 75.0, 0.5)
    assert told["models_usd"] == {"model-1": 0.1875, "model-2": 0.5625}


def test_totals_that_begin_anew_are_added(session: Recording, sessions: Any) -> None:
    session.prompt(0)
    session.say(1)
    cost(session, 0.5, 2)
    session.prompt(60)
    session.say(61)
    cost(session, 0.25, 1, startTime=(START_S + 59) * 1000)
    assert sessions(session.path)[SESSION]["cost_usd"] == 0.75


@pytest.mark.parametrize(
    "members",
    [
        {"totalCostUSD": "much"},
        {"totalCostUSD": True},
        {"totalCostUSD": -1},
        {"totalCostUSD": 1e400},
        {"totalCostUSD": None},
        {"modelUsage": [1]},
        {"modelUsage": {"m": 5}},
        {"startTime": "now"},
        {"totalDuration": None},
    ],
)
def test_odd_figures_are_none(session: Recording, sessions: Any, members: dict[str, Any]) -> None:
    session.prompt(0)
    session.say(1)
    cost(session, 0.5, 2, **members)
    assert sessions(session.path)[SESSION]["cost_usd"] in {None, 0.0, 0.5}


def test_a_session_that_does_not_say_so_has_none(session: Recording, sessions: Any) -> None:
    session.prompt(0)
    session.say(1)
    told = sessions(session.path)[SESSION]
    assert (told["cost_usd"], told["models_usd"]) == (None, None)


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded sessions are not here")
def test_recorded_sessions_cost_what_they_say_and_forks_not_what_their_origin_did(
    sessions: Any,
) -> None:
    told = {key[:8]: one["cost_usd"] for key, one in sessions(*SHARED.glob("*/projects")).items()}
    assert told["f54d7a7d"] == pytest.approx(0.0144724)  # resumed once
    assert told["69ffe1a6"] == pytest.approx(0.1847656)
    assert (told["ae2dac52"], told["41598137"]) == (None, None)
