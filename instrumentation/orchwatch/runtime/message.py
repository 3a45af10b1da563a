"""A message: what one agent tells another, and what may stand in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from orchwatch.errors import OrchwatchError
from orchwatch.recording.safe_text import safe

MAX_BODY_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,127}")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class MessageError(OrchwatchError):
    """A message cannot be sent, received or acknowledged; the message says which and why."""


class MailboxFullError(MessageError):
    """A message was not sent: as many as its mailbox may hold are unread there.

    Attributes:
        mailbox: Whose.
    """

    def __init__(self, mailbox: str, capacity: int, waited_s: float) -> None:
        what = f"after {waited_s:g} s of waiting" if waited_s else "refused at once"
        super().__init__(f"{mailbox}: its mailbox is full, {capacity} messages are unread; {what}")
        self.mailbox = mailbox


class ClaimLostError(MessageError):
    """A message was not acknowledged in time, and others may have it by now."""


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived.

    Attributes:
        number: Its own on this bus; later ones have higher ones.
        sender: Who sent it.
        kind: What it is about, e.g. `task`.
        topic: What it was published under; empty for one sent to this mailbox, or to all.
        body: The content, JSON.
        headers: `traceparent` and `baggage` of its delivery; `attach()` them to continue the trace.
        sent_ns: When, in nanoseconds since the epoch.
        tries: How many times it has been handed out, this one included.
        claim: What this receiver acknowledges it with.
    """

    number: int
    sender: str
    kind: str
    topic: str
    body: Any
    headers: dict[str, str]
    sent_ns: int
    tries: int
    claim: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up.

    Attributes:
        number: The message's.
        mailbox: Who should have handled it.
        sender, kind, topic, body, sent_ns, tries: See `Message`.
        error: Why the last try failed.
        died_ns: When it was given up, in nanoseconds since the epoch.
    """

    number: int
    mailbox: str
    sender: str
    kind: str
    topic: str
    sent_ns: int
    tries: int
    error: str
    died_ns: int
    body: Any


def check_name(what: str, name: object) -> str:
    """The name of a mailbox, a sender, a topic or a kind of message.

    Raises:
        MessageError: It is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise MessageError(
        f"{what} must be 1 to 128 letters, digits and '_.:/@-', the first a letter, digit or '_', "
        f"not {safe(repr(name), 80)}"
    )


def encode_body(kind: str, body: object) -> str:
    """A body as it is kept.

    Raises:
        MessageError: It is not JSON, or too large.
    """
    try:
        text = _encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"a {kind} message: its body is not JSON: {error}") from error
    if len(text) > MAX_BODY_BYTES:
        raise MessageError(
            f"a {kind} message: its body takes {len(text)} bytes; at most {MAX_BODY_BYTES} are sent"
        )
    return text
