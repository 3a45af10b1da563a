"""A mailbox: where the messages for one agent wait until it has acknowledged them."""

from __future__ import annotations

import math
import os
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach, inject
from orchwatch.runtime import message_tables
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.message import MessageError, check_name
from orchwatch.runtime.wakeups import Waiter
from orchwatch.targets import config, target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchwatch.recording.otlp_json import Attributes
    from orchwatch.runtime.database import Database
    from orchwatch.runtime.message import Message
    from orchwatch.runtime.message_tables import Claimed
    from orchwatch.runtime.message_telemetry import Exporter


class Mailbox(Closing):
    """Receives the messages for one name; made by `MessageBus.mailbox`.

    Attributes:
        name: Whose it is.
    """

    def __init__(
        self,
        database: Database,
        exporter: Exporter,
        name: str,
        *,
        topics: Iterable[str],
        capacity: int,
        visible_after_s: float,
        max_tries: int,
        sole_reader: bool,
    ) -> None:
        for what, value in (("capacity", capacity), ("max_tries", max_tries)):
            if type(value) is not int or value < 1:
                raise MessageError(f"{what} must be a whole number above 0, not {value!r}")
        if not 0 < visible_after_s < float("inf"):
            raise MessageError(f"visible_after_s must be above 0, not {visible_after_s!r}")
        self.name = name
        self._database = database
        self._exporter = exporter
        self._visible_after_s = visible_after_s
        self._max_tries = max_tries
        self._target_s = _target_s()
        self._pid = os.getpid()
        self._held: set[int] = set()  # the claims of what was received
        wanted = [(check_name("a topic", topic), name) for topic in topics]
        with database.writing() as connection:
            connection.execute(
                "INSERT INTO mailboxes VALUES (?, ?, 0) "
                "ON CONFLICT(name) DO UPDATE SET capacity = excluded.capacity",
                (name, capacity),
            )
            connection.executemany("INSERT OR IGNORE INTO subscriptions VALUES (?, ?)", wanted)
            if sole_reader:
                message_tables.release_all(connection, name)
        self._waiter = Waiter(database.path, name)

    def receive(self, timeout_s: float | None = 0.0) -> Message | None:
        """The oldest message that is unclaimed; `message.deliver` ends here.

        It is this process's until it is acknowledged or rejected, or its time is over.

        Args:
            timeout_s: Wait so long for one; 0 only looks, None waits for ever.

        Returns:
            None where none came.

        Raises:
            MessageError: The bus cannot be used.
        """
        return self._next(timeout_s, None)

    def acknowledge(self, message: Message) -> None:
        """The message is done with: it is never handed out again once this has returned.

        Raises:
            ClaimLostError: Its time was over, and others may have it by now.
            MessageError: The bus cannot be used.
        """
        with self._database.writing() as connection:
            message_tables.acknowledge(connection, self.name, message)
        self._held.discard(message.claim)
        self._exporter.export_if_due()

    def reject(self, message: Message, error: str) -> bool:
        """The message could not be handled: it comes again after a pause, or is a dead letter.

        Args:
            message: One that `receive` gave.
            error: Why; kept with the dead letter.

        Returns:
            False where it is given up.

        Raises:
            ClaimLostError, MessageError: See `acknowledge`.
        """
        with self._database.writing() as connection:
            again = message_tables.reject(connection, self.name, message, error, self._max_tries)
        self._held.discard(message.claim)
        self._exporter.export_if_due()
        return again

    def extend(self, message: Message) -> None:
        """Handling takes long: its time begins anew.

        Raises:
            ClaimLostError, MessageError: See `acknowledge`.
        """
        with self._database.writing() as connection:
            message_tables.extend(connection, self.name, message, self._visible_after_s)

    def handle(
        self,
        handler: Callable[[Message], object],
        *,
        timeout_s: float | None = 0.0,
        limit: int | None = None,
    ) -> int:
        """Hand each message to `handler`, in its sender's trace, and acknowledge it then.

        A message whose handler raises is rejected with that error, and the next one follows.

        Args:
            handler: What to do with a message.
            timeout_s: End after so long without one; 0 where there is none, None never.
            limit: End after so many.

        Returns:
            How many were acknowledged.

        Raises:
            ClaimLostError: A handler took longer than the message is kept from others.
            MessageError: The bus cannot be used.
        """
        handled = received = 0
        done: Message | None = None
        while limit is None or received < limit:
            message = self._next(timeout_s, done)
            done = None
            if message is None:
                return handled
            received += 1
            try:
                with attach(message.headers):
                    handler(message)
            except Exception as error:  # noqa: BLE001 - it is kept, with the message
                self.reject(message, f"{type(error).__name__}: {error}")
            else:
                handled += 1
                done = message
        if done is not None:
            self.acknowledge(done)
        return handled

    def subscribe(self, topic: str) -> None:
        """Get what is published under a topic from now on.

        Raises:
            MessageError: It is no topic, or the bus cannot be used.
        """
        row = (check_name("a topic", topic), self.name)
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO subscriptions VALUES (?, ?)", row)

    def unsubscribe(self, topic: str) -> None:
        """Get no more of a topic; what has come already stays."""
        row = (check_name("a topic", topic), self.name)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM subscriptions WHERE topic = ? AND mailbox = ?", row)

    def remove(self) -> int:
        """Close it, and remove it with all that is unread; gives how many messages are lost so."""
        self.close()
        with self._database.writing() as connection:
            return message_tables.remove(connection, self.name)

    def close(self) -> None:
        """Give back what was received and not handled; the mailbox stays. Safe to call again."""
        if self._pid == os.getpid() and self._held:
            with self._database.writing() as connection:
                for ticket in self._held:
                    message_tables.release(connection, self.name, ticket)
        self._held.clear()
        self._waiter.close()

    def _next(self, timeout_s: float | None, done: Message | None) -> Message | None:
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        claimed = self._take(done)
        while claimed is None:
            self._exporter.export_if_due()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._waiter.wait(left_s)
            claimed = self._take(None)
        self._exporter.export_if_due()
        return self._delivered(claimed)

    def _take(self, done: Message | None) -> Claimed | None:
        """Acknowledge one message and claim the next, in one write; none where there is neither."""
        if done is None:
            with self._database.reading() as connection:
                if not message_tables.claimable(connection, self.name):
                    return None
        ticket = secrets.randbits(62) + 1
        with self._database.writing() as connection:
            if done is not None:
                message_tables.acknowledge(connection, self.name, done)
            claimed = message_tables.claim(
                connection,
                self.name,
                ticket,
                visible_after_s=self._visible_after_s,
                max_tries=self._max_tries,
                target_s=self._target_s,
            )
        if done is not None:
            self._held.discard(done.claim)
        if claimed is not None:
            self._held.add(ticket)
        return claimed

    def _delivered(self, claimed: Claimed) -> Message:
        message = claimed.message
        attributes: Attributes = {
            semconv.MESSAGING_DESTINATION_NAME: message.topic or self.name,
            semconv.MESSAGING_BODY_SIZE: claimed.size_bytes,
            semconv.MESSAGE_KIND: message.kind,
            semconv.MESSAGE_SENDER: message.sender,
            semconv.MESSAGE_TRIES: message.tries,
        }
        headers: dict[str, str] = {}
        with (
            attach(message.headers),
            _Delivery(semconv.MESSAGE_DELIVER, attributes, claimed.waited_ns),
        ):
            inject(headers)
        return replace(message, headers=headers)


class _Delivery(operation):
    """An operation that began when the message was sent, in whatever process that was."""

    __slots__ = ("waited_ns",)

    def __init__(self, name: str, attributes: Attributes, waited_ns: int) -> None:
        super().__init__(name, attributes)
        self.waited_ns = waited_ns


def _target_s() -> float:
    """How late a message may be."""
    try:
        table = target_table.load()
    except config.ConfigError:  # `orchwatch doctor` says what is wrong with the user's file
        table = target_table.load(config.Config())
    return table.operations[semconv.MESSAGE_DELIVER].target_s
