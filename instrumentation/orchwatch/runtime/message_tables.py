"""The bus as tables. What one sender sends to one mailbox is a lane, in order.

A lane says which message is its first and who works on that; only a lane's first message is ever
handed out, so nothing overtakes. Numbers of what was sent, delivered and so on are written together
with what they count, and so are right after any kill.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.recording.in_flight import boot_id
from orchwatch.runtime.message import (
    ClaimLostError,
    DeadLetter,
    MailboxFullError,
    Message,
    MessageError,
)
from orchwatch.runtime.message_schema import OTHER

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

MAX_TOPIC_LABELS = 20
MAX_DEAD_LETTERS = 1_000
FIRST_PAUSE_S = 0.05

_BOOT = boot_id()
_MAX_ERROR_CHARACTERS = 500


class Draft(NamedTuple):
    """A message that is about to be sent; see `Message`."""

    sender: str
    kind: str
    topic: str
    label: str
    headers: str
    body: str


class Claimed(NamedTuple):
    """A message that is handed out, its body's size, and how long it has waited for that."""

    message: Message
    size_bytes: int
    waited_ns: int


def add(
    connection: sqlite3.Connection,
    draft: Draft,
    mailboxes: list[str],
    waited_s: float,
    is_abandoned: Callable[[str], bool],
) -> int:
    """Send to each of some mailboxes, or to none; gives the message's number.

    In one that is full, and that nobody reads, the oldest message makes room as a dead letter.

    Raises:
        MessageError: There is no such mailbox.
        MailboxFullError: One is full.
    """
    for name in mailboxes:
        row = connection.execute(
            "SELECT capacity, unread FROM mailboxes WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            raise MessageError(f"there is no mailbox {name!r} on this bus")
        if row[1] >= row[0] and not (is_abandoned(name) and _make_room(connection, name)):
            raise MailboxFullError(name, row[0], waited_s)
    label = _label(connection, draft.label)
    number = connection.execute(
        "INSERT INTO messages(sender, kind, topic, label, headers, body, sent_ns, clock_ns, boot, "
        "copies) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(draft.sender, draft.kind, draft.topic, label, draft.headers, draft.body),
            *(time.time_ns(), time.monotonic_ns(), _BOOT, len(mailboxes)),
        ),
    ).lastrowid
    assert number is not None
    rows = [(name, draft.sender, number) for name in mailboxes]
    connection.executemany("INSERT INTO deliveries VALUES (?, ?, ?)", rows)
    connection.executemany(
        "INSERT INTO lanes(mailbox, sender, head) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
    )
    connection.executemany(
        "UPDATE mailboxes SET unread = unread + 1 WHERE name = ?", [(name,) for name in mailboxes]
    )
    _count(connection, label, "sent", len(mailboxes))
    return number


def claimable(connection: sqlite3.Connection, mailbox: str) -> bool:
    """Whether an unclaimed message is there."""
    return _free_lane(connection, mailbox, time.monotonic_ns()) is not None


def claim(
    connection: sqlite3.Connection,
    mailbox: str,
    ticket: int,
    *,
    visible_after_s: float,
    max_tries: int,
    target_s: float,
) -> Claimed | None:
    """Hand out the oldest unclaimed message.

    One that was tried too often, or that the file no longer holds whole, is given up first.
    """
    while True:
        now_ns = time.monotonic_ns()
        lane = _free_lane(connection, mailbox, now_ns)
        if lane is None:
            return None
        sender, number, tries, error = lane
        if tries >= max_tries:
            error = error or f"not acknowledged within {visible_after_s:g} s"
            _bury(connection, mailbox, sender, number, tries=tries, error=error)
            continue
        kind, topic, label, headers, body, sent_ns, clock_ns, boot = connection.execute(
            "SELECT kind, topic, label, headers, body, sent_ns, clock_ns, boot FROM messages "
            "WHERE number = ?",
            (number,),
        ).fetchone()
        try:
            message = Message(
                number=number,
                sender=sender,
                kind=kind,
                topic=topic,
                body=json.loads(body),
                headers=json.loads(headers),
                sent_ns=sent_ns,
                tries=tries + 1,
                claim=ticket,
            )
        except (TypeError, ValueError, RecursionError):
            error = "the file does not hold it as it was sent"
            _bury(connection, mailbox, sender, number, tries=tries, error=error)
            continue
        connection.execute(
            "UPDATE lanes SET tries = tries + 1, claim = ?, since_ns = ?, until_ns = ?, error = '' "
            "WHERE mailbox = ? AND sender = ?",
            (ticket, now_ns, now_ns + int(visible_after_s * 1e9), mailbox, sender),
        )
        # The wall clock can be set; the other one begins anew with each boot.
        waited_ns = max(now_ns - clock_ns if boot == _BOOT else time.time_ns() - sent_ns, 0)
        if not tries and waited_ns > target_s * 1e9:
            _count(connection, label, "late", 1)
        return Claimed(message, len(body), waited_ns)


def acknowledge(connection: sqlite3.Connection, mailbox: str, message: Message) -> None:
    """The message is done with.

    Raises:
        ClaimLostError: It was not this receiver's any more.
    """
    _check_claim(connection, mailbox, message)
    _count(connection, _take_out(connection, mailbox, message.sender, message.number), "delivered")


def reject(
    connection: sqlite3.Connection, mailbox: str, message: Message, error: str, max_tries: int
) -> bool:
    """The message is to be tried again, after a pause that doubles; False where it is given up.

    Raises:
        ClaimLostError: It was not this receiver's any more.
    """
    tries = _check_claim(connection, mailbox, message)
    error = error[:_MAX_ERROR_CHARACTERS]
    if tries >= max_tries:
        _bury(connection, mailbox, message.sender, message.number, tries=tries, error=error)
        return False
    now_ns = time.monotonic_ns()
    connection.execute(
        "UPDATE lanes SET claim = 0, since_ns = ?, until_ns = ?, error = ? "
        "WHERE mailbox = ? AND sender = ?",
        (
            *(now_ns, now_ns + int(FIRST_PAUSE_S * 2 ** (tries - 1) * 1e9), error),
            *(mailbox, message.sender),
        ),
    )
    return True


def extend(
    connection: sqlite3.Connection, mailbox: str, message: Message, visible_after_s: float
) -> None:
    """The receiver needs longer.

    Raises:
        ClaimLostError: It was not this receiver's any more.
    """
    _check_claim(connection, mailbox, message)
    now_ns = time.monotonic_ns()
    connection.execute(
        "UPDATE lanes SET since_ns = ?, until_ns = ? WHERE mailbox = ? AND sender = ?",
        (now_ns, now_ns + int(visible_after_s * 1e9), mailbox, message.sender),
    )


def release(connection: sqlite3.Connection, mailbox: str, ticket: int) -> None:
    """Give back what a receiver that ends has not handled; the try does not count."""
    connection.execute(
        "UPDATE lanes SET tries = tries - 1, claim = 0, since_ns = 0, until_ns = 0 "
        "WHERE mailbox = ? AND claim = ?",
        (mailbox, ticket),
    )


def release_all(connection: sqlite3.Connection, mailbox: str) -> None:
    """Releases a mailbox's messages whose holder is gone; their tries count."""
    connection.execute(
        "UPDATE lanes SET claim = 0, since_ns = 0, until_ns = 0 WHERE mailbox = ?", (mailbox,)
    )


def remove(connection: sqlite3.Connection, mailbox: str) -> int:
    """Remove a mailbox; gives how many unread messages are lost with it."""
    rows = connection.execute(
        "SELECT sender, number FROM deliveries WHERE mailbox = ?", (mailbox,)
    ).fetchall()
    for sender, number in rows:
        _count(connection, _take_out(connection, mailbox, sender, number), "lost")
    connection.execute("DELETE FROM subscriptions WHERE mailbox = ?", (mailbox,))
    connection.execute("DELETE FROM mailboxes WHERE name = ?", (mailbox,))
    return len(rows)


def dead_letters(connection: sqlite3.Connection) -> list[DeadLetter]:
    """Oldest first."""
    rows = connection.execute(
        "SELECT number, mailbox, sender, kind, topic, sent_ns, tries, error, died_ns, body "
        "FROM dead_letters ORDER BY died_ns, number"
    )
    names = [column[0] for column in rows.description]
    letters = (dict(zip(names, row, strict=True)) for row in rows)
    return [DeadLetter(**{**letter, "body": _loaded(letter["body"])}) for letter in letters]


def _loaded(text: str) -> object:
    """A body; as text where it is not what was sent."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


def _make_room(connection: sqlite3.Connection, mailbox: str) -> bool:
    """Whether a message has gone: one that somebody works on is not the oldest that can."""
    lane = _free_lane(connection, mailbox, time.monotonic_ns())
    if lane is None:
        return False
    sender, number, tries, _ = lane
    error = "the mailbox is full, and nobody reads it"
    _bury(connection, mailbox, sender, number, tries=tries, error=error)
    return True


def _free_lane(
    connection: sqlite3.Connection, mailbox: str, now_ns: int
) -> tuple[str, int, int, str] | None:
    # A claim of before the last boot seems to come from the future, or is over.
    row: tuple[str, int, int, str] | None = connection.execute(
        "SELECT sender, head, tries, error FROM lanes WHERE mailbox = ? "
        "AND NOT (since_ns <= ? AND ? < until_ns) ORDER BY head LIMIT 1",
        (mailbox, now_ns, now_ns),
    ).fetchone()
    return row


def _check_claim(connection: sqlite3.Connection, mailbox: str, message: Message) -> int:
    row = connection.execute(
        "SELECT tries FROM lanes WHERE mailbox = ? AND sender = ? AND head = ? AND claim = ?",
        (mailbox, message.sender, message.number, message.claim),
    ).fetchone()
    if row is None:
        raise ClaimLostError(
            f"message {message.number} from {message.sender} is not {mailbox}'s to acknowledge: "
            "it was done with, or handed out again as its time was over"
        )
    return int(row[0])


def _take_out(connection: sqlite3.Connection, mailbox: str, sender: str, number: int) -> str:
    """Remove a lane's first message; gives its label."""
    connection.execute(
        "DELETE FROM deliveries WHERE mailbox = ? AND sender = ? AND number = ?",
        (mailbox, sender, number),
    )
    (head,) = connection.execute(
        "SELECT min(number) FROM deliveries WHERE mailbox = ? AND sender = ?", (mailbox, sender)
    ).fetchone()
    if head is None:
        connection.execute("DELETE FROM lanes WHERE mailbox = ? AND sender = ?", (mailbox, sender))
    else:
        connection.execute(
            "UPDATE lanes SET head = ?, tries = 0, claim = 0, since_ns = 0, until_ns = 0, "
            "error = '' WHERE mailbox = ? AND sender = ?",
            (head, mailbox, sender),
        )
    connection.execute("UPDATE mailboxes SET unread = unread - 1 WHERE name = ?", (mailbox,))
    (label, copies) = connection.execute(
        "SELECT label, copies FROM messages WHERE number = ?", (number,)
    ).fetchone()
    if copies == 1:
        connection.execute("DELETE FROM messages WHERE number = ?", (number,))
    else:
        connection.execute("UPDATE messages SET copies = copies - 1 WHERE number = ?", (number,))
    return str(label)


def _bury(
    connection: sqlite3.Connection,
    mailbox: str,
    sender: str,
    number: int,
    *,
    tries: int,
    error: str,
) -> None:
    connection.execute(
        "INSERT INTO dead_letters SELECT number, ?, sender, kind, topic, body, sent_ns, ?, ?, ? "
        "FROM messages WHERE number = ?",
        (mailbox, tries, error, time.time_ns(), number),
    )
    _count(connection, _take_out(connection, mailbox, sender, number), "dead")
    connection.execute(
        "DELETE FROM dead_letters WHERE (number, mailbox) IN (SELECT number, mailbox "
        "FROM dead_letters ORDER BY died_ns DESC, number DESC LIMIT -1 OFFSET ?)",
        (MAX_DEAD_LETTERS,),
    )


def _label(connection: sqlite3.Connection, wanted: str) -> str:
    """The name under which a topic is counted: its own, as long as there are few."""
    known = connection.execute("SELECT 1 FROM totals WHERE label = ?", (wanted,)).fetchone()
    if known is None:
        if not wanted.startswith("("):
            (topics,) = connection.execute(
                "SELECT count(*) FROM totals WHERE label NOT LIKE '(%'"
            ).fetchone()
            if topics >= MAX_TOPIC_LABELS:
                wanted = OTHER
        connection.execute("INSERT OR IGNORE INTO totals(label) VALUES (?)", (wanted,))
    return wanted


def _count(connection: sqlite3.Connection, label: str, column: str, by: int = 1) -> None:
    connection.execute(
        f"UPDATE totals SET {column} = {column} + ? WHERE label = ?",  # noqa: S608 - our own names
        (by, label),
    )
