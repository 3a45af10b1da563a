"""Messages between the agents of an orchestration, whatever process each of them is."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from orchwatch.recording.propagation import inject
from orchwatch.runtime import message_tables
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.database import Database
from orchwatch.runtime.mailbox import Mailbox
from orchwatch.runtime.message import MailboxFullError, MessageError, check_name, encode_body
from orchwatch.runtime.message_schema import BROADCAST, DIRECT, SCHEMA
from orchwatch.runtime.message_tables import Draft
from orchwatch.runtime.message_telemetry import Exporter, Totals, totals
from orchwatch.runtime.wakeups import may_be_read, wake

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchwatch.runtime.database import Durability
    from orchwatch.runtime.message import DeadLetter

CAPACITY = 10_000
VISIBLE_AFTER_S = 30.0
MAX_TRIES = 5
_FULL_POLL_S = 0.01


class MessageBus(Closing):
    """Sends messages and keeps them until they are acknowledged; any number of processes use it.

    At least once: a message is accepted by returning, and is then handed out until somebody
    acknowledges it, whichever processes are killed; one that is acknowledged is never handed out
    again. In order: a mailbox gets what one sender sent in the order in which it was sent, and not
    before what came earlier is acknowledged or given up. After `os.fork` the child opens the file
    anew by itself.

        with MessageBus(path, "planner") as bus:
            bus.send("agent-1", "task", {"id": "t1"})
        with MessageBus(path, "agent-1") as bus, bus.mailbox() as mailbox:
            mailbox.handle(work, timeout_s=None)

    Args:
        path: The file; made if it is missing.
        name: Who sends, and whose mailbox `mailbox` opens.
        durability: What an accepted or acknowledged message survives, see `Database`.
        checkpoint_pages: When SQLite's WAL is written back, likewise.

    Attributes:
        path: The file.
        name: Who sends.

    Raises:
        MessageError: It cannot be opened; the message names the file and the reason.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        durability: Durability = "process",
        checkpoint_pages: int | None = None,
    ) -> None:
        self.name = check_name("the name of an agent", name)
        self.path = path
        self._database = Database(path, SCHEMA, durability, checkpoint_pages=checkpoint_pages)
        self._exporter = Exporter(self._database)

    def mailbox(
        self,
        topics: Iterable[str] = (),
        *,
        capacity: int = CAPACITY,
        visible_after_s: float = VISIBLE_AFTER_S,
        max_tries: int = MAX_TRIES,
        sole_reader: bool = False,
    ) -> Mailbox:
        """Open the mailbox of this name, and make it if it is missing; it stays until removed.

        Several processes may read one mailbox: they share what comes, each sender's in order.

        Args:
            topics: What it gets besides, from now on.
            capacity: How many unread messages it holds; beyond, senders are refused or wait.
            visible_after_s: A message that is not acknowledged for so long is handed out again.
            max_tries: So many times at most; then it is a dead letter.
            sole_reader: No other process reads it: what an earlier one, killed perhaps, had not
                acknowledged comes again at once.

        Raises:
            MessageError: A name or a bound is none.
        """
        return Mailbox(
            self._database,
            self._exporter,
            self.name,
            topics=topics,
            capacity=capacity,
            visible_after_s=visible_after_s,
            max_tries=max_tries,
            sole_reader=sole_reader,
        )

    def send(
        self,
        to: str,
        kind: str,
        body: Any = None,
        *,
        wait_s: float = 0.0,
        baggage: Mapping[str, str] | None = None,
    ) -> int:
        """Send to one mailbox; gives the message's number.

        Args:
            to: Whose mailbox; it must be there.
            kind: What it is about, e.g. `task`.
            body: The content, JSON.
            wait_s: Where the mailbox is full, wait so long for room; 0 is refused at once.
            baggage: What the receiver's operations inherit, beside what this context carries.

        Raises:
            MailboxFullError: There was no room; nothing was sent.
            MessageError: There is no such mailbox, or this is no message; nothing was sent.
        """
        check_name("the name of a mailbox", to)
        draft = self._draft(kind, "", DIRECT, body, baggage)
        return self._send(draft, wait_s, lambda _connection: [to], to_many=False)[0]

    def publish(
        self,
        topic: str,
        kind: str,
        body: Any = None,
        *,
        wait_s: float = 0.0,
        baggage: Mapping[str, str] | None = None,
    ) -> int:
        """Send to each mailbox with this topic, or to none; gives how many there are.

        A mailbox that is full and that nobody has open, its agent being gone, does not hold up the
        others: its oldest message becomes a dead letter.

        Raises:
            MailboxFullError: One that is read has no room; nothing was sent.
            MessageError: This is no message; nothing was sent.
        """
        check_name("a topic", topic)

        def subscribed(connection: sqlite3.Connection) -> list[str]:
            return _names(connection, "SELECT mailbox FROM subscriptions WHERE topic = ?", topic)

        return self._send(self._draft(kind, topic, topic, body, baggage), wait_s, subscribed)[1]

    def broadcast(
        self,
        kind: str,
        body: Any = None,
        *,
        wait_s: float = 0.0,
        baggage: Mapping[str, str] | None = None,
    ) -> int:
        """Send to each mailbox but one's own, or to none; gives how many there are.

        Raises:
            MailboxFullError, MessageError: See `publish`.
        """

        def others(connection: sqlite3.Connection) -> list[str]:
            return _names(connection, "SELECT name FROM mailboxes WHERE name != ?", self.name)

        return self._send(self._draft(kind, "", BROADCAST, body, baggage), wait_s, others)[1]

    def unread(self) -> dict[str, int]:
        """How many messages wait or are worked on, by mailbox."""
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT name, unread FROM mailboxes ORDER BY name"))

    def totals(self) -> dict[str, Totals]:
        """What was sent, delivered, late, lost and dead, by topic, see `Totals`."""
        with self._database.reading() as connection:
            return totals(connection)

    def dead_letters(self) -> list[DeadLetter]:
        """What was given up, oldest first; the last thousand are kept."""
        with self._database.reading() as connection:
            return list(message_tables.dead_letters(connection))

    def close(self) -> None:
        """Let go of the file; the bus stays as it is. Safe to call again."""
        if self._database.is_open:
            self._exporter.export()
        self._database.close()

    def _draft(
        self, kind: str, topic: str, label: str, body: Any, baggage: Mapping[str, str] | None
    ) -> Draft:
        check_name("the kind of a message", kind)
        headers: dict[str, str] = {}
        inject(headers, baggage)
        return Draft(self.name, kind, topic, label, json.dumps(headers), encode_body(kind, body))

    def _send(
        self,
        draft: Draft,
        wait_s: float,
        recipients: Callable[[sqlite3.Connection], list[str]],
        *,
        to_many: bool = True,
    ) -> tuple[int, int]:
        if not wait_s >= 0:
            raise MessageError(f"wait_s must be 0 or more, not {wait_s!r}")
        deadline_s = time.monotonic() + wait_s

        def is_abandoned(mailbox: str) -> bool:
            return to_many and not may_be_read(self.path, mailbox)

        while True:
            try:
                with self._database.writing() as connection:
                    to = recipients(connection)
                    number = (
                        message_tables.add(connection, draft, to, wait_s, is_abandoned) if to else 0
                    )
                break
            except MailboxFullError:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise
                time.sleep(min(_FULL_POLL_S, left_s))
        for name in to:
            wake(self.path, name)
        self._exporter.export_if_due()
        return number, len(to)


def _names(connection: sqlite3.Connection, statement: str, value: str) -> list[str]:
    return [name for (name,) in connection.execute(statement, (value,))]
