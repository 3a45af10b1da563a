from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.tui.conftest import choosing, settled, text_of
from textual.widgets import DataTable, Input, Static

from orchwatch import operation
from orchwatch.cli.main import main
from orchwatch.errors import OrchwatchError
from orchwatch.tui.app import Dashboard
from orchwatch.tui.drill import SlowestScreen, TraceScreen
from orchwatch.tui.help import Help
from orchwatch.tui.picker import Picker
from orchwatch.tui.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record
    from textual.pilot import Pilot

MS = 1_000_000
TRACE_ID = "ab" * 16


def test_each_figure_is_the_one_that_current_and_kpi_print(
    record: Record, shown: Callable[..., Dashboard], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        record("state.query", duration_ns=number * 3 * MS, failed=number % 10 == 0)
        record("agent.task", duration_ns=number * MS, attributes={"gen_ai.agent.name": "planner"})
    record("my.own", duration_ns=7 * MS)

    async def act(app: Dashboard, _: Pilot[Any]) -> None:
        assert app.look is not None
        for reading in app.look.status.snapshot.operations:
            told[reading.id] = (
                reading.count, reading.errors, reading.p95_s, reading.under_target, reading.status
            )  # fmt: skip
        figures.update({level.id: level.value for level in app.look.status.snapshot.levels})
        text.append(text_of(app))

    told: dict[str, tuple[Any, ...]] = {}
    figures: dict[str, float | None] = {}
    text: list[str] = []
    shown(act)
    capsys.readouterr()
    assert main(["current", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {
        name: (row["count"], row["errors"], row["p95_s"], row["under_target"], row["status"])
        for name, row in found["operations"].items()
        if name != "dashboard.refresh"
    } == {name: row for name, row in told.items() if name != "dashboard.refresh"}
    # Not the share of all operations that failed: the refresh itself has not.
    for level in ("task.success", "task.errors", "agent.utilization"):
        assert found["levels"][level]["value"] == figures[level]
    assert "111ms" in text[0]
    assert "my.own" in text[0]
    assert "warning State query: 111ms, alert at 75ms" in text[0]


def test_an_empty_home_says_what_to_do(home: Path, shown: Callable[..., Dashboard]) -> None:
    async def act(app: Dashboard, _: Pilot[Any]) -> None:
        text = " ".join(text_of(app).split())
        assert f"Nothing was measured yet in {home}" in text
        assert "orchwatch demo" in text
        assert "no agent at work now" in text

    shown(act, size=(80, 24))


def test_every_refresh_is_an_operation_and_no_recent_trace(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    record("state.query", trace_id=TRACE_ID)

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        assert not app.looker.has_news()
        record("state.query")
        assert app.looker.has_news()
        await pilot.press("r")
        await settled(app, pilot, 2)
        assert not app.looker.has_news()
        assert app.look is not None
        rows = {reading.id: reading for reading in app.look.status.snapshot.operations}
        assert (rows["state.query"].count, rows["dashboard.refresh"].count) == (2, 1)
        assert [trace.name for trace in app.look.traces] == ["state.query"] * 2
        assert app.look.of_all == 2

    app = shown(act)
    assert app.refreshes == 2


@pytest.mark.usefixtures("home")
def test_a_refresh_that_is_left_in_the_middle_is_no_failure(
    shown: Callable[..., Dashboard], spans: Callable[[], list[dict[str, Any]]]
) -> None:
    held, going_on = threading.Event(), threading.Event()

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        look = app.looker.look

        def slow(question: Any, **how: Any) -> Any:
            going_on.set()
            held.wait()
            return look(question, **how)

        app.looker.look = slow  # type: ignore[method-assign]
        app.refresh_now()
        while not going_on.is_set():
            await pilot.pause(0.01)
        threading.Timer(0.0, held.set).start()
        app.exit()

    shown(act)
    refreshes = [span for span in spans() if span["name"] == "dashboard.refresh"]
    assert [span["status"]["code"] for span in refreshes].count(2) == 0


def test_from_an_operation_to_its_slowest_trace_to_a_waterfall_to_a_flame(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    record("state.query", duration_ns=9 * MS, trace_id=TRACE_ID, span_id="12" * 8)
    record("state.persist", duration_ns=3 * MS, trace_id=TRACE_ID, parent_span_id="12" * 8)
    record("state.query", duration_ns=MS)

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        operations = app.query_one("#operations", DataTable)
        keys = [key.value for key in operations.rows]
        operations.move_cursor(row=keys.index("state.query"))
        await pilot.press("enter")
        while not (isinstance(app.screen, SlowestScreen) and app.screen.query_one(DataTable).rows):
            await pilot.pause(0.01)
        slowest = app.screen.query_one(DataTable)
        assert next(key.value for key in slowest.rows) == TRACE_ID
        assert str(slowest.get_row(TRACE_ID)[-1]) == TRACE_ID[:8]
        await pilot.press("enter")
        assert "state.persist" in await drawn(app, pilot)
        assert "what the whole waited for" in text_of(app)
        await pilot.press("f")
        assert "own" in await drawn(app, pilot)
        await pilot.press("c")
        assert "critical path of trace" in await drawn(app, pilot)
        await pilot.press("r")  # goes on below
        await settled(app, pilot, 2)
        assert "critical path of trace" in text_of(app)
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert app.screen is app.screen_stack[0]

    shown(act)


def test_where_the_time_of_turns_went_is_shown_and_that_of_one_above_its_waterfall(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    record("agent.turn", duration_ns=10_000 * MS, trace_id=TRACE_ID, span_id="12" * 8)
    below: dict[str, Any] = {"trace_id": TRACE_ID, "parent_span_id": "12" * 8}
    record("user.wait", duration_ns=4_000 * MS, **below)

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        said = str(app.query_one("#phases", Static).render())
        assert [line.split() for line in said.splitlines()] == [
            ["the", "model", "6s", "60%"],
            ["waiting", "for", "a", "person", "4s", "40%"],
            ["of", "1", "turn;", "orchwatch", "phases", "lists", "them"],
        ]
        app.query_one("#traces", DataTable).focus()
        await pilot.press("enter")
        assert "Time of the turn, 10s: the model 6s (60%)" in await drawn(app, pilot)

    shown(act)


async def drawn(app: Dashboard, pilot: Pilot[Any]) -> str:
    await pilot.pause()
    while not (isinstance(app.screen, TraceScreen) and app.screen.is_drawn):
        await pilot.pause(0.01)
    await pilot.pause()
    return text_of(app)


def test_one_session_can_be_looked_at_and_all_of_them_again(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    for session, number in (("one", 3), ("two", 5)):
        for _ in range(number):
            record("state.query", attributes={"session.id": session})

    def count(app: Dashboard) -> int:
        assert app.look is not None
        readings = app.look.status.snapshot.operations
        return next(reading.count for reading in readings if reading.id == "state.query")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        assert count(app) == 8
        await pilot.press("s")
        while not isinstance(app.screen, Picker):
            await pilot.pause(0.01)
        await pilot.press(*"two", "enter")
        await settled(app, pilot, 2)
        assert (app.question.session, count(app)) == ("two", 5)
        await pilot.press("x")
        await settled(app, pilot, 3)
        assert (app.question.session, count(app)) == (None, 8)
        await pilot.press("t")
        while not isinstance(app.screen, Picker):
            await pilot.pause(0.01)
        app.screen.query_one(Input).value = "all"
        await pilot.press("enter")
        await settled(app, pilot, 4)
        assert app.look is not None
        assert (app.question.since, app.look.words) == ("all", "")

    shown(act)


def test_a_name_is_shown_as_it_is_never_as_markup_nor_as_a_control_code(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    hostile = "[bold red]x[/] [@click=app.quit()]y[/]\x1b[2J\u202e"
    for _ in range(3):
        record(hostile, trace_id=TRACE_ID, attributes={"session.id": hostile})

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        text = text_of(app)
        assert "[bold red]x[" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        await pilot.press("s")
        while not isinstance(app.screen, Picker):
            await pilot.pause(0.01)
        await pilot.pause()
        assert "[bold red]x[/] [@click=app.quit()]" in text_of(app)
        await pilot.press("escape", "tab", "tab", "enter")
        assert "[bold red]x[" in await drawn(app, pilot)

    shown(act)


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (155, 30), (156, 30), (250, 80)])
def test_it_fits_any_terminal_and_a_resize(
    record: Record, shown: Callable[..., Dashboard], size: tuple[int, int]
) -> None:
    record("state.query")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert text_of(app).strip()
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "state.query" in text_of(app)

    shown(act, size=size)


def test_help_and_pause(record: Record, shown: Callable[..., Dashboard]) -> None:
    record("state.query")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        await pilot.press("p")
        await pilot.pause()
        assert "PAUSED" in text_of(app)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        assert "its slowest traces" in text_of(app)
        await pilot.press("escape", "p")
        await pilot.pause()
        assert "PAUSED" not in text_of(app)

    shown(act)


def test_the_cursor_stays_on_its_row_while_others_come(
    record: Record, shown: Callable[..., Dashboard]
) -> None:
    record("zz.mine")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        table = app.query_one("#operations", DataTable)
        keys = [key.value for key in table.rows]
        table.move_cursor(row=keys.index("zz.mine"))
        for _ in range(5):
            record("aa.other")
        await pilot.press("r")
        await settled(app, pilot, 2)
        keys = [key.value for key in table.rows]
        assert "aa.other" in keys
        assert keys[table.cursor_row] == "zz.mine"

    shown(act)


def test_a_store_that_cannot_be_read_is_said_and_the_last_figures_stay(
    record: Record, shown: Callable[..., Dashboard], home: Path
) -> None:
    record("state.query")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        spool = home / "spool"
        spool.rename(home / "away")
        spool.write_text("a file")
        await pilot.press("r")
        await pilot.pause()
        while app.is_looking:
            await pilot.pause(0.01)
        await pilot.pause()
        text = text_of(app)
        assert "state.query" in text
        spool.unlink()
        (home / "away").rename(spool)
        await pilot.press("r")
        await pilot.pause()
        while app.is_looking:
            await pilot.pause(0.01)
        assert "the figures below are older" not in text_of(app)

    shown(act)


def test_damaged_lines_and_a_store_that_is_written_are_no_reason_to_stop(
    record: Record, shown: Callable[..., Dashboard], home: Path
) -> None:
    record("state.query")

    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        (segment,) = (home / "spool").glob("operations-*")
        with segment.open("ab") as file:
            file.write(b'{"no": "span"\n{"resourceSpans": [{"torn')
        await pilot.press("r")
        await settled(app, pilot, 2)
        assert "1 unreadable line skipped" in text_of(app)

    shown(act)


def test_a_filter_that_matches_nothing_ends_it_with_that(
    record: Record, home: Path, tmp_path: Path
) -> None:
    record("state.query", attributes={"session.id": "one"})
    app = Dashboard(home, tmp_path, Question(session="nine"), choosing(home))

    async def on_screen() -> None:
        async with app.run_test() as pilot:
            while app.return_value is None:
                await pilot.pause(0.01)

    asyncio.run(on_screen())
    assert isinstance(app.return_value, OrchwatchError)
    assert "--session nine: matches nothing" in str(app.return_value)


@pytest.mark.usefixtures("home")
def test_an_agent_at_work_is_shown_with_what_it_does_and_takes(
    shown: Callable[..., Dashboard],
) -> None:
    async def act(app: Dashboard, pilot: Pilot[Any]) -> None:
        who = {"session.id": "s1", "gen_ai.agent.name": "coder"}
        with (
            operation("agent.run", who),
            operation("tool.execute", {**who, "gen_ai.tool.name": "Bash"}),
        ):
            await pilot.press("r")
            await settled(app, pilot, 2)
            assert app.look is not None
            (one,) = app.look.seen.agents
            assert (one.session_id, one.agent, one.phase, one.detail) == (
                "s1", "coder", "tool", "Bash"
            )  # fmt: skip
            assert "tool Bash" in text_of(app)
        await pilot.press("r")
        await settled(app, pilot, 3)
        assert not app.look.seen.agents

    shown(act)
