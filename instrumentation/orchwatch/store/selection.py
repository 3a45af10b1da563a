"""Which spans a question is about: a window and filters, the same for every question."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.store.small import Row

AHEAD_NS = 60 * 1_000_000_000
"""Clocks of one machine agree; those of home directories on a network need not, quite."""

_COLUMNS = ("session_id", "service", "operation")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A window and filters; what is None selects all.

    Attributes:
        since_ns: Ended then or later, in Unix nanoseconds.
        until_ns: Ended then or earlier, likewise.
        session_id: The whole id.
        agent: Name of an agent, or its id.
        service: The whole name.
        operation: The whole name.
        without: The whole name of an operation that does not count; for lists and traces alone.
        history: Whether what was imported counts, too: a span of it counts at its own time, and
            once, when it was recorded here as well.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    session_id: str | None = None
    agent: str | None = None
    service: str | None = None
    operation: str | None = None
    without: str | None = None
    history: bool = False

    @property
    def families(self) -> tuple[str, ...]:
        """Where the spans lie."""
        here = (spool.OPERATIONS, spool.UNDELIVERED)
        return (*here, spool.HISTORY) if self.history else here

    @property
    def filters(self) -> bool:
        """Whether anything but the window selects."""
        named = (self.session_id, self.agent, self.service, self.operation, self.without)
        return any(value is not None for value in named)

    @property
    def last_ns(self) -> int:
        """Where its window ends, by default now: what is dated later has not happened."""
        return time.time_ns() + AHEAD_NS if self.until_ns is None else self.until_ns

    def where(self, *, window: bool = True) -> tuple[str, dict[str, Any]]:
        """A condition in SQL on a span's columns, and its parameters.

        Args:
            window: Whether the window is part of it.
        """
        parts, values = [], {}
        for column in _COLUMNS:
            value = getattr(self, column)
            if value is not None:
                parts.append(f"{column} = $of_{column}")
                values[f"of_{column}"] = value
        if self.agent is not None:
            parts.append("(agent_id = $of_agent OR agent = $of_agent)")
            values["of_agent"] = self.agent
        if self.without is not None:
            parts.append("operation IS DISTINCT FROM $without")
            values["without"] = self.without
        if window:
            for column, sign, moment in (
                ("since_ns", ">=", self.since_ns),
                ("until_ns", "<=", self.last_ns),
            ):
                if moment is not None:
                    parts.append(f"end_ns {sign} $of_{column}")
                    values[f"of_{column}"] = moment
        return " AND ".join(parts) or "true", values

    def held(self, rows: Iterable[Row], *, window: bool = True) -> list[Row]:
        """The rows, in Python, for which the condition `where` holds."""
        families = self.families
        found = [row for row in rows if row.family in families]
        for column in _COLUMNS:
            value = getattr(self, column)
            if value is not None:
                found = [row for row in found if getattr(row, column) == value]
        agent = self.agent
        if agent is not None:
            found = [row for row in found if agent in (row.agent, row.agent_id)]
        if self.without is not None:
            found = [row for row in found if row.operation != self.without]
        if window:
            since_ns, last_ns = self.since_ns or 0, self.last_ns
            found = [row for row in found if since_ns <= row.end_ns <= last_ns]
        return found


ALL = Selection()
"""What happened here, ever."""
