"""A list to choose from, by typing a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

ALL = ""
"""What is chosen by the first line: no filter."""

_MOST = 200
_NAME_COLUMNS = 60


class Picker(ModalScreen[str | None]):
    """Gives what was chosen, `ALL`, or None where nothing was.

    Args:
        title: What to choose.
        values: What there is.
        everything: What the first line says that chooses `ALL`; None for no such line.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss(None)", "back"),
        ("down", "app.focus_next", "list"),
    ]

    def __init__(self, title: str, values: Sequence[str], everything: str | None = "all") -> None:
        super().__init__()
        self._title = title
        self._values = values
        self._everything = everything
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        """The line to type in, and the list."""
        with Vertical(id="picker"):
            yield Static(Text(self._title))
            yield Input(placeholder="type a part of it")
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        """Shows all."""
        self._show("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Shows what holds what was typed."""
        self._show(event.value)

    def on_input_submitted(self) -> None:
        """Takes the first of those that hold it."""
        typed = self.query_one(Input).value
        first = next((value for value in self._shown if value or not typed), None)
        if first is not None:
            self.dismiss(first)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Takes it."""
        self.dismiss(self._shown[event.option_index])

    def _show(self, typed: str) -> None:
        fitting = [value for value in self._values if typed.lower() in value.lower()]
        self._shown = [*([ALL] if self._everything is not None else []), *fitting[:_MOST]]
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(
            Option(Text(safe(value, _NAME_COLUMNS) if value else self._everything or ""))
            for value in self._shown
        )
