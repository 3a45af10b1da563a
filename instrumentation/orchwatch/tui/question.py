"""What a dashboard is asked: the same words as every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

RANGES = ("15m", "1h", "24h", "7d", "all")
"""What a person chooses from; the command line takes any."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """From when to when, and of whom.

    Attributes:
        since: As `--since` has it; None for the command's default.
        until: As `--until` has it.
        session: The session's id; this and the next ones are None for all.
        agent: Name or id.
        service: Name.
        operation: Name.
    """

    since: str | None = None
    until: str | None = None
    session: str | None = None
    agent: str | None = None
    service: str | None = None
    operation: str | None = None

    def filters(self) -> list[tuple[str, str]]:
        """What is filtered by, as name and value."""
        names = ("session", "agent", "service", "operation")
        return [(name, value) for name in names if (value := getattr(self, name)) is not None]


class Chosen(Protocol):
    """What a question selects, as `orchwatch.cli.filters` finds it."""

    @property
    def selection(self) -> Selection:
        """The spans."""

    @property
    def words(self) -> str:
        """The same in words."""

    @property
    def note(self) -> str | None:
        """A sentence where another window than the default is used."""


Choose: TypeAlias = "Callable[[Question, Store], Chosen]"
"""Finds out what a question selects; raises an `OrchwatchError` where that cannot be."""
