"""What the bus says of itself: how many messages, how late, and how old the oldest unread one is.

The totals stand in the bus' file and are right after any kill; what has been added since somebody
last looked goes out as counters, every few seconds, by whichever process uses the bus then. One
that is killed at that very moment takes with it what it was about to add.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.metrics import count, gauge
from orchwatch.runtime.message import MessageError

if TYPE_CHECKING:
    import sqlite3

    from orchwatch.runtime.database import Database

EXPORT_INTERVAL_S = 5.0
_COUNTERS = {
    "sent": semconv.MESSAGE_SENT,
    "delivered": semconv.MESSAGE_DELIVERED,
    "late": semconv.MESSAGE_LATE,
    "lost": semconv.MESSAGE_LOST,
    "dead": semconv.MESSAGE_DEAD,
}
_COLUMNS = ", ".join(("label", *_COUNTERS))


@dataclass(frozen=True, slots=True)
class Totals:
    """Messages since the bus was made; one that is sent to several mailboxes counts for each.

    `sent` is `delivered + lost + dead` and what is unread.

    Attributes:
        sent: Accepted.
        delivered: Acknowledged.
        late: Handed out later after they were sent than the target of `message.deliver` allows.
        lost: Unread in a mailbox when it was removed.
        dead: Given up after too many tries.
        oldest_unread_s: Since when the oldest one that is not acknowledged was sent; 0 without one.
    """

    sent: int
    delivered: int
    late: int
    lost: int
    dead: int
    oldest_unread_s: float


def totals(connection: sqlite3.Connection) -> dict[str, Totals]:
    """By topic; `(direct)` and `(broadcast)` for those without, `(other)` beyond the first few."""
    now_ns = time.time_ns()
    return {
        label: Totals(**numbers, oldest_unread_s=_age_s(connection, label, now_ns))
        for label, numbers in _numbers(connection, "totals").items()
    }


class Exporter:
    """Turns what the file says into metrics, once in an interval over all processes that use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_s = 0.0

    def export_if_due(self) -> None:
        """To be called whenever something has happened, or has not for a while."""
        if time.monotonic() >= self._next_s:
            self.export()

    def export(self) -> None:
        """Add to the counters what is new, and set the gauges; never raises."""
        self._next_s = time.monotonic() + EXPORT_INTERVAL_S
        # A message that was accepted must not look refused; the file keeps what was not exported.
        with suppress(MessageError):
            self._export()

    def _export(self) -> None:
        with self._database.writing() as connection:
            now = totals(connection)
            before = _numbers(connection, "exported")
            connection.execute("DELETE FROM exported")
            connection.execute(f"INSERT INTO exported SELECT {_COLUMNS} FROM totals")  # noqa: S608
        for label, found in now.items():
            attributes = {semconv.MESSAGE_TOPIC: label}
            for name, metric in _COUNTERS.items():
                added = getattr(found, name) - before.get(label, {}).get(name, 0)
                if added:
                    count(metric, added, attributes, unit="{message}")
            gauge(semconv.MESSAGE_UNREAD_AGE, found.oldest_unread_s, attributes, unit="s")


def _numbers(connection: sqlite3.Connection, table: str) -> dict[str, dict[str, int]]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM {table} ORDER BY label")  # noqa: S608
    return {label: dict(zip(_COUNTERS, numbers, strict=True)) for label, *numbers in rows}


def _age_s(connection: sqlite3.Connection, label: str, now_ns: int) -> float:
    row = connection.execute(
        "SELECT sent_ns FROM messages WHERE label = ? ORDER BY number LIMIT 1", (label,)
    ).fetchone()
    return 0.0 if row is None else max(now_ns - row[0], 0) / 1e9
