"""The dashboard: it shows one look after the other, and is never without an answer to a key."""

from __future__ import annotations

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.text import Text
from textual.app import App, SystemCommand
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable, Footer, Static

from orchwatch.errors import OrchwatchError
from orchwatch.recording.safe_text import safe
from orchwatch.tui import outlook, panels, picker, question
from orchwatch.tui.drill import SlowestScreen, TraceScreen
from orchwatch.tui.help import KEYS, Help
from orchwatch.tui.looker import Looker
from orchwatch.tui.picker import Picker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.events import Resize
    from textual.screen import Screen

    from orchwatch.tui.looker import Look
    from orchwatch.tui.outlook import Forecaster
    from orchwatch.tui.question import Choose, Question

INTERVAL_S = 2.0
"""How often it looks whether anything was written."""

IDLE_S = 30.0
"""How often it looks at least: when the machine's own figures are due."""

# Of the time, at most this share goes into refreshes, however much is stored.
_SHARE = 0.25
_SPARKS, _NARROW_SPARKS = 24, 8
_WIDE = 156
_T = TypeVar("_T")


class Dashboard(App[BaseException | None]):
    """What happens, live.

    Args:
        home: The home directory.
        project: Where coverage and state files are looked for.
        asked: What to look at first.
        choose: Finds out what a question selects.
        live: Whether anything can happen there, see `Looker`.
        forecaster: Who is asked where things go; None: nothing is said of it.
    """

    CSS = """
    #header { height: 2; padding: 0 1; background: $panel; }
    #banner { height: auto; padding: 0 1; display: none; }
    #banner.said { display: block; }
    #body { layout: vertical; }
    #left, #right { height: auto; }
    DataTable { height: auto; max-height: 16; }
    #left > *, #right > * { border: round $primary; border-title-color: $text; margin: 0; }
    #left > *:focus { border: round $accent; }
    #right > * { height: auto; padding: 0 1; }
    .-wide #body { layout: horizontal; }
    .-wide #left { width: 1fr; height: 1fr; }
    .-wide #right { width: 62; height: 1fr; overflow-y: auto; }
    .-wide #traces { height: 1fr; max-height: 100%; }
    #picker { width: 70; max-width: 100%; height: 20; max-height: 100%; border: round $accent; }
    Picker, Help { align: center middle; }
    #help { width: 70; max-width: 100%; height: auto; max-height: 100%; border: round $accent;
            padding: 0 1; background: $panel; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012 - as its base has it
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q,ctrl+c", "quit", "quit"),
        ("question_mark", "help", "help"),
        ("p,space", "pause", "pause"),
        ("t", "range", "range"),
        ("s", "filter('session')", "session"),
        ("a", "filter('agent')", "agent"),
        ("o", "filter('operation')", "operation"),
        ("x", "everything", "no filter"),
        ("r", "refresh_now", "refresh"),
    ]
    TITLE = "orchwatch dashboard"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        home: Path,
        project: Path,
        asked: Question,
        choose: Choose,
        *,
        live: bool = True,
        forecaster: Forecaster | None = None,
    ) -> None:
        super().__init__()
        self.question = asked
        self.looker = Looker(home, project, choose, self._say, live=live)
        self.look: Look | None = None
        self.refreshes = 0
        self._forecaster = forecaster
        self._home = str(home)
        self._first = asked
        self._paused = not live
        self._reader = ThreadPoolExecutor(1, "orchwatch-dashboard")
        self._looking = False
        self._again = False
        self._due_s = self._idle_s = 0.0
        self._wide = False

    async def ask(self, what: Callable[..., _T], *arguments: object) -> _T:
        """Has the reading thread do something; questions are answered one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, what, *arguments)

    def compose(self) -> ComposeResult:
        """The parts, still empty."""
        yield Static("reading …", id="header", markup=False)
        yield Static(id="banner", markup=False)
        with VerticalScroll(id="body", can_focus=False):
            with Vertical(id="left"):
                yield _table("operations", "performance: the p95 against its target")
                yield _table("agents", "agents that run now")
                yield _table("traces", "recent traces")
            with Vertical(id="right"):
                for name, title in (
                    ("alerts", "alerts"),
                    ("resources", "resources"),
                    ("business", "key figures"),
                    ("phases", "time of turns"),
                    *((("outlook", "forecasts"),) if self._forecaster else ()),
                ):
                    part = Static(id=name, markup=False)
                    part.border_title = title
                    yield part
        yield Footer()

    def on_mount(self) -> None:
        """Looks for the first time, and from then on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit)
        for name, heads in (
            ("#agents", panels.AGENTS),
            ("#traces", panels.TRACES),
            ("#operations", panels.OPERATIONS),
        ):
            self._base.query_one(name, DataTable).add_columns(*panels.heads(heads))
        self._base.query_one("#operations").focus()
        self.set_interval(INTERVAL_S, self._tick)
        self.refresh_now()

    def on_resize(self, event: Resize) -> None:
        """Shows the same in the new room."""
        self._wide = event.size.width >= _WIDE
        if self.look is not None:
            self._show(self.look)

    async def on_unmount(self) -> None:
        """Ends the reading thread; nothing has to be saved."""
        self.looker.interrupt()
        self._reader.shutdown(wait=True, cancel_futures=True)
        self.looker.close()

    @property
    def _base(self) -> Screen[object]:
        """The screen with all the parts, whichever lies above it."""
        return self.screen_stack[0]

    @property
    def is_looking(self) -> bool:
        """Whether a refresh goes on."""
        return self._looking

    def refresh_now(self, *, anew: bool = False) -> None:
        """Looks, or once more after the look that goes on; see `Looker.look`."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self.run_worker(self._refresh(anew=anew), group="refresh")

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._paused or self._looking or now_s < self._due_s:
            return
        if now_s >= self._idle_s or self.looker.has_news():
            self.refresh_now()

    async def _refresh(self, *, anew: bool) -> None:
        """One look, up to what is painted of it."""
        started_s = time.monotonic()
        try:
            with self.looker.refreshing():
                self.look = await self.ask(partial(self.looker.look, self.question, anew=anew))
                self.refreshes += 1
                self._show(self.look)
                painted = asyncio.Event()
                self.call_after_refresh(painted.set)
                await painted.wait()
            # Once a look is shown, so that none waits for it.
            if self._forecaster and self._forecaster.is_due(self.question, anew=anew):
                self.run_worker(self._forecast(self._forecaster), group="ahead", exclusive=True)
        except OrchwatchError as error:
            if self.look is None and self._first.filters():
                self.exit(error)
            self._complain(error)
        except Exception as error:  # noqa: BLE001 - said in one line, once the terminal is back
            self.exit(error)
        finally:
            self._looking = False
            now_s = time.monotonic()
            self._due_s = now_s + (now_s - started_s) * (1 / _SHARE - 1)
            self._idle_s = now_s + IDLE_S
        if self._again:
            self._again = False
            self.refresh_now(anew=True)

    async def _forecast(self, forecaster: Forecaster) -> None:
        part = self._base.query_one("#outlook", Static)
        if forecaster.asked != self.question:
            part.update(outlook.being_computed())
        part.update(outlook.said(await forecaster.ask(self.question)))

    def _say(self, what: str) -> None:
        """From the reading thread."""
        self.call_from_thread(self._banner, Text(what, "yellow"))

    def _complain(self, error: OrchwatchError) -> None:
        self._banner(Text(f"{safe(str(error), 500)}; the figures below are older", "bold red"))

    def _banner(self, text: Text) -> None:
        banner = self._base.query_one("#banner", Static)
        banner.update(text)
        banner.set_class(bool(text), "said")

    def _show(self, look: Look) -> None:
        """Lays a look out; where a person is, and how far down, stays."""
        self._base.query_one("#header", Static).update(
            panels.header(look, paused=self._paused, refreshes=self.refreshes)
        )
        self._banner(panels.nothing(self._home) if look.is_empty else panels.notes(look))
        sparks = _SPARKS if self._wide else _NARROW_SPARKS
        _fill(
            self._base.query_one("#operations", DataTable),
            [
                (reading.id, panels.operation_row(look, reading, sparks))
                for reading in panels.listed(look)
            ],
        )
        _fill(
            self._base.query_one("#agents", DataTable),
            [(f"{place}", row) for place, row in enumerate(panels.agent_rows(look))],
        )
        _fill(self._base.query_one("#traces", DataTable), list(panels.trace_rows(look)))
        self._base.query_one("#agents").border_title = panels.agents_title(look)
        for name, text in (
            ("alerts", panels.alerts(look)),
            ("resources", panels.resources(look)),
            ("business", panels.business(look)),
            ("phases", panels.phases(look)),
        ):
            self._base.query_one(f"#{name}", Static).update(text)
        self._base.query_one("#phases").display = look.status.business.phases is not None

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Goes deeper: an operation, a trace, an agent."""
        key = event.row_key.value
        if event.data_table.id == "operations" and key is not None:
            self.push_screen(SlowestScreen(key))
        elif event.data_table.id == "traces" and key is not None:
            self.push_screen(TraceScreen(key))
        elif event.data_table.id == "agents" and self.look is not None:
            agents = self.look.seen.agents
            if event.cursor_row < len(agents) and agents[event.cursor_row].session_id:
                self._ask_for(session=agents[event.cursor_row].session_id)

    def _ask_for(self, **changes: str | None) -> None:
        self.question = replace(self.question, **changes)
        self.refresh_now()

    def action_pause(self) -> None:
        """Stops looking, or goes on."""
        self._paused = not self._paused
        if self.look is not None:
            self._show(self.look)

    def action_refresh_now(self) -> None:
        """Looks at once, at everything."""
        self.refresh_now(anew=True)

    def action_everything(self) -> None:
        """Filters by nothing."""
        self._ask_for(session=None, agent=None, service=None, operation=None)

    def action_help(self) -> None:
        """Lists the keys."""
        self.push_screen(Help())

    def action_range(self) -> None:
        """Has a person choose how far back to look."""

        def take(chosen: str | None) -> None:
            if chosen is not None:
                self._ask_for(since=chosen)

        self.push_screen(Picker("how far back", question.RANGES, None), take)

    def action_filter(self, column: str) -> None:
        """Has a person choose whose operations to look at."""
        self.run_worker(self._filter(column), group="filter", exclusive=True)

    async def _filter(self, column: str) -> None:
        try:
            values = await self.ask(self.looker.values, self.question, column)
        except OrchwatchError as error:
            self._complain(error)
            return

        def take(chosen: str | None) -> None:
            if chosen is not None:
                self._ask_for(**{column: None if chosen == picker.ALL else chosen})

        self.push_screen(Picker(f"which {column}", values, f"every {column}"), take)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers: the keys, by what they do."""
        for action, title, says in KEYS:
            if action:
                yield SystemCommand(title, says, lambda action=action: self.run_action(action))


def _table(name: str, title: str) -> DataTable[Text]:
    table: DataTable[Text] = DataTable(id=name, cursor_type="row", zebra_stripes=True)
    table.border_title = title
    return table


def _fill(table: DataTable[Text], rows: list[tuple[str, list[Text]]]) -> None:
    """Shows other rows, the cursor on the same one as before where it is still there."""
    known = [key.value for key in table.rows]
    at = known[table.cursor_row] if table.cursor_row < len(known) else None
    down = table.scroll_offset.y
    table.clear()
    table.show_header = bool(rows)
    for key, row in rows:
        table.add_row(*row, key=key)
    place = next((place for place, (key, _) in enumerate(rows) if key == at), table.cursor_row)
    table.move_cursor(row=place, animate=False, scroll=False)
    table.scroll_to(y=down, animate=False)
