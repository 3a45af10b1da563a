"""Deeper: an operation's slowest traces, and one trace in text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from rich.text import Text
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from orchwatch.errors import OrchwatchError
from orchwatch.recording.safe_text import safe
from orchwatch.tui import panels
from orchwatch.tui.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from orchwatch.store.slowest import SlowTrace
    from orchwatch.tui.looker import Looker
    from orchwatch.tui.question import Question

_MARGIN = 2
_READING = "reading …"
_T = TypeVar("_T")


class Asks(Protocol):
    """The dashboard, as far as its other screens need it."""

    looker: Looker
    question: Question

    async def ask(self, what: Callable[..., _T], *arguments: object) -> _T: ...


class TraceScreen(Screen[None]):
    """One trace, as a waterfall first.

    Args:
        trace_id: Which.

    Attributes:
        is_drawn: Whether the view that was asked for last is shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,backspace", "dismiss", "back"),
        ("w", "view('waterfall')", "waterfall"),
        ("f", "view('flame')", "flame"),
        ("c", "view('critical path')", "critical path"),
    ]

    def __init__(self, trace_id: str) -> None:
        super().__init__()
        self._trace_id = trace_id
        self._view = next(iter(VIEWS))
        self.is_drawn = False

    def compose(self) -> ComposeResult:
        """The text, and the keys."""
        with VerticalScroll():
            yield Static(_READING, id="text", markup=False)
        yield Footer()

    def on_resize(self) -> None:
        """Draws it anew, as wide as there is room; for the first time, too."""
        self.action_view(self._view)

    def action_view(self, view: str) -> None:
        """Shows another view."""
        self._view, self.is_drawn = view, False
        self.run_worker(self._draw(), exclusive=True)

    async def _draw(self) -> None:
        asks = cast("Asks", self.app)
        columns = max(self.size.width - 2 * _MARGIN, 1)
        try:
            text = await asks.ask(asks.looker.drawn, self._trace_id, self._view, columns)
        except OrchwatchError as error:
            text = str(error)
        self.query_one("#text", Static).update(Text(text))
        self.is_drawn = True


class SlowestScreen(Screen[None]):
    """The traces that hold the slowest calls of an operation.

    Args:
        operation: Its name.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,backspace", "dismiss", "back")]

    def __init__(self, operation: str) -> None:
        super().__init__()
        self._operation = operation

    def compose(self) -> ComposeResult:
        """A title, the traces, the keys."""
        yield Static(Text(f"the slowest of {safe(self._operation)}", "bold"), id="title")
        yield DataTable(cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Asks for them."""
        table = self.query_one(DataTable)
        table.add_columns(*panels.heads(panels.SLOWEST))
        table.loading = True
        self.run_worker(self._fill())

    async def _fill(self) -> None:
        asks = cast("Asks", self.app)
        table, found = self.query_one(DataTable), list["SlowTrace"]()
        try:
            found = await asks.ask(asks.looker.slowest, asks.question, self._operation)
        except OrchwatchError as error:
            self.query_one("#title", Static).update(Text(str(error), "red"))
        table.loading = False
        for one in found:
            table.add_row(*panels.slowest_row(one), key=one.trace_id)
        table.focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Opens the trace."""
        if event.row_key.value is not None:
            self.app.push_screen(TraceScreen(event.row_key.value))
