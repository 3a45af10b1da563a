"""Forecasts stand in the dashboard, and none of its refreshes waits for them."""

from __future__ import annotations

import asyncio
import json
import math
import os
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.unit.analysis.test_forecasts import fill
from tests.unit.tui.conftest import choosing, settled
from textual.widgets import Static

from orchwatch import units
from orchwatch.cli.main import main
from orchwatch.tui import outlook
from orchwatch.tui.app import Dashboard
from orchwatch.tui.outlook import Forecaster
from orchwatch.tui.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record
    from textual.pilot import Pilot


def grow(record: Record) -> None:
    fill(record, lambda minute: 20 * math.exp(0.008 * minute + 0.02 * (minute % 3)), 100)


def text_of(app: Dashboard) -> str:
    return str(app.screen_stack[0].query_one("#outlook", Static).content)


async def answered(app: Dashboard, pilot: Pilot[Any]) -> None:
    while not text_of(app) or "being computed" in text_of(app):
        await pilot.pause(0.01)


@pytest.fixture
def looking(home: Path, tmp_path: Path) -> Callable[..., None]:
    def run(act: Any, **asked: Any) -> None:
        forecaster = Forecaster(home)
        app = Dashboard(home, tmp_path, Question(**asked), choosing(home), forecaster=forecaster)

        async def on_screen() -> None:
            async with app.run_test(size=(160, 50)) as pilot:
                await settled(app, pilot)
                await act(app, pilot)

        asyncio.run(on_screen())

    return run


@pytest.fixture
def scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What is found in the place of SciPy."""

    def put(source: str) -> None:
        (tmp_path / "scipy.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put


def test_it_says_what_the_command_says(
    record: Record, looking: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    grow(record)
    record("my.own")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await answered(app, pilot)
        text.append(text_of(app))

    text: list[str] = []
    looking(act, until="2999-01-01", since="all", operation="state.query")
    words = ["--since", "all", "--until", "2999-01-01", "--operation", "state.query"]
    assert main(["forecast", "--format", "json", *words]) == 0
    (one,) = json.loads(capsys.readouterr().out)["forecasts"]
    last = one["points"][-1]
    assert text[0].startswith("state.query ")
    for value in (last["middle"], last["low_95"], last["high_95"]):
        assert units.duration(value) in text[0]
    assert one["crosses"] or one["may_cross"]
    assert "its target" in text[0]


def test_what_has_too_short_a_past_is_not_enough_data(
    record: Record, looking: Callable[..., None]
) -> None:
    record("state.query")
    record("my.own")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await answered(app, pilot)
        # The third is the dashboard's own refresh.
        assert text_of(app) == "not enough data for 3 figures; see orchwatch forecast"

    looking(act)
    assert str(outlook.said(outlook.Outlook())) == "not enough data; see orchwatch forecast"


def test_a_missing_extra_is_said_with_how_to_get_it(
    record: Record, looking: Callable[..., None], scipy: Callable[[str], None]
) -> None:
    grow(record)
    scipy('raise ModuleNotFoundError("none", name="scipy")')

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await answered(app, pilot)
        assert text_of(app) == (
            "forecasts need SciPy; install it with: pip install 'orchwatch[forecast]'"
        )

    looking(act)


def test_no_refresh_waits_for_a_forecast_and_none_outlives_the_dashboard(
    record: Record, looking: Callable[..., None], scipy: Callable[[str], None], tmp_path: Path
) -> None:
    grow(record)
    os.mkfifo(tmp_path / "gate")
    scipy(f"open({str(tmp_path / 'gate')!r}).read()")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        # Opening it for writing succeeds only once the import of SciPy has begun.
        gate = None
        while gate is None:
            try:
                gate = os.open(tmp_path / "gate", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                await pilot.pause(0.01)
        gates.append(gate)
        running = [one for one in psutil.Process().children() if one not in others]
        for number in range(2, 5):
            app.refresh_now()
            await settled(app, pilot, number)
            assert text_of(app) == "being computed …"
        assert all(process.is_running() for process in running)
        children.extend(running)

    others = psutil.Process().children()  # of tests before this one
    children: list[psutil.Process] = []
    gates: list[int] = []
    looking(act)
    assert children
    assert psutil.wait_procs(children, timeout=60)[1] == []
    os.close(gates[0])


def test_another_question_has_another_answer(record: Record, looking: Callable[..., None]) -> None:
    grow(record)
    record("my.own")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await answered(app, pilot)
        assert "state.query" in text_of(app)
        app.question = Question(operation="my.own")
        app.refresh_now()
        await settled(app, pilot, 2)
        while "state.query" in text_of(app) or "being computed" in text_of(app):
            await pilot.pause(0.01)
        assert text_of(app) == "not enough data for 1 figure; see orchwatch forecast"

    looking(act)


def test_a_checkout_that_it_is_started_in_is_not_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchwatch").mkdir()
    (tmp_path / "orchwatch" / "__init__.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert asyncio.run(Forecaster(home).ask(Question())).why_none is None
    assert not (tmp_path / "ran").exists()


def test_a_name_that_no_command_line_takes_is_one_line(home: Path) -> None:
    found = asyncio.run(Forecaster(home).ask(Question(service="a\0b")))
    assert "cannot be started: embedded null byte" in (found.why_none or "")


def test_the_next_one_comes_after_the_answer(home: Path) -> None:
    forecaster = Forecaster(home)

    async def ask() -> None:
        asking = asyncio.create_task(forecaster.ask(Question()))
        await asyncio.sleep(0)
        assert not forecaster.is_due(Question(), anew=False)
        assert math.isinf(forecaster._due_s)
        await asking
        assert math.isfinite(forecaster._due_s)

    asyncio.run(ask())
