"""Which keys there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

KEYS: tuple[tuple[str, str, str], ...] = (
    ("", "↑ ↓ Tab", "another row, another part"),
    ("", "Enter", "operation: its slowest traces; trace: its waterfall; agent: its session"),
    ("", "w f c", "of a trace: waterfall, flame graph, critical path"),
    ("", "Esc", "back"),
    ("filter('session')", "s  one session", "look at the operations of one session"),
    ("filter('agent')", "a  one agent", "look at the operations of one agent"),
    ("filter('operation')", "o  one operation", "look at the operations of one name"),
    ("everything", "x  no filter", "look at all of them again"),
    ("range", "t  time range", "how far back to look"),
    ("pause", "p  pause", "stop looking, or go on"),
    ("refresh_now", "r  refresh", "look at once"),
    ("help", "?  help", "this list"),
    ("quit", "q  quit", "leave"),
)
"""What each does: its action (empty where it belongs to a part), its name, and what it does."""

_NAME_COLUMNS = 18
_MORE = """
Ctrl-P finds these by name. Every figure is the one that `orchwatch current` and
`orchwatch kpi list` print for the same --since. Each refresh is recorded as a dashboard.refresh;
they are left out of the recent traces, and without other news there is one every half minute."""


class Help(ModalScreen[None]):
    """The list, over what is below."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark,enter", "dismiss", "back")]

    def compose(self) -> ComposeResult:
        """The keys, then a few words."""
        text = Text()
        for _, name, says in KEYS:
            text.append(f"{name:{_NAME_COLUMNS}} ", "bold")
            text.append(says + "\n")
        text.append(_MORE)
        with VerticalScroll(id="help"):
            yield Static(text)
