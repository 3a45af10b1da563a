"""The tokens that a gateway takes: one file, which its Collector reads anew when it changes.

A line is `TOKEN ID MACHINE CREATED`; to the Collector only the first word counts. The first line is
the gateway's own token, with which it sends to itself: a file without any token would not be read,
and the last machine's token would go on being taken. The file stays whose it is, and readable for
whom it was: a Collector that could not read it would go on taking what was revoked.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from orchwatch.diagnosis.fleet import machine
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a token looks like; the Collector's redaction knows it too.
PATTERN = re.compile(r"owf_([0-9a-f]{8})_[0-9a-f]{48}")

# No name of a machine.
_OWN = "@gateway"
_ID_BYTES = 4
_SECRET_BYTES = 24
_MAX_BYTES = 16 * 1024 * 1024
_WORDS = 4


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token that a gateway takes.

    Attributes:
        token: What the machine shows.
        id: The part of it that may be shown, 8 hexadecimal digits.
        machine: Whose it is.
        created: When it was made, in UTC, ISO 8601.
    """

    token: str
    id: str
    machine: str
    created: str


def default_path() -> str:
    """The file of a gateway that runs from this home."""
    return os.path.join(machine.directory(), "gateway", "tokens")


def listed(path: str) -> list[Token]:
    """All tokens of machines, in the order in which they were made.

    Raises:
        OrchwatchError: The file cannot be read, or is something else.
    """
    return [one for one in _read(path) if one.machine != _OWN]


def add(path: str, name: str) -> Token:
    """Makes a token of a machine; those that it has stay valid, until they are revoked.

    Raises:
        UsageError: The name is invalid.
        OrchwatchError: The file cannot be read or written, or is something else.
    """
    made = _new(machine.checked_name("machine", name))
    with _changing(path) as found:
        found.append(made)
    return made


def revoke(path: str, which: str) -> list[Token]:
    """Takes a token away by its id, or all of a machine by its name; those that were taken away.

    Raises:
        OrchwatchError: There is none, or the file cannot be read or written.
    """
    with _changing(path) as found:
        gone = [one for one in found if which in (one.id, one.machine) and one.machine != _OWN]
        if not gone:
            raise OrchwatchError(
                f"{which}: no machine or token of that name; orchwatch fleet token list shows them"
            )
        found[:] = [one for one in found if one not in gone]
    return gone


def _new(name: str) -> Token:
    number = secrets.token_hex(_ID_BYTES)
    return Token(
        token=f"owf_{number}_{secrets.token_hex(_SECRET_BYTES)}",
        id=number,
        machine=name,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


@contextmanager
def _changing(path: str) -> Iterator[list[Token]]:
    """The file's tokens; what they are at the end is written, whole or not at all."""
    path = os.path.realpath(path)  # a link stays one, and has the same lock as what it leads to
    try:
        os.makedirs(os.path.dirname(path) or ".", DIRECTORY_MODE, exist_ok=True)
        lock = files.descriptor(f"{path}.lock", os.O_RDWR | os.O_CREAT, links=False)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _read(path)
        yield found
        own = [one for one in found if one.machine == _OWN] or [_new(_OWN)]
        found = [*own, *(one for one in found if one.machine != _OWN)]
        text = "".join(f"{one.token} {one.id} {one.machine} {one.created}\n" for one in found)
        try:
            files.replace(path, text.encode(), sync=True, **_access(path))
        except OSError as error:
            raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        os.close(lock)


class _Access(TypedDict, total=False):
    mode: int
    owner: tuple[int, int]


def _access(path: str) -> _Access:
    """Whose the file is and who may read it, if it is there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return {}
    return {"mode": stat.S_IMODE(found.st_mode), "owner": (found.st_uid, found.st_gid)}


def _read(path: str) -> list[Token]:
    try:
        text = files.read(path, _MAX_BYTES).decode()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OrchwatchError(f"{path}: holds no tokens of orchwatch") from error
    return [_parsed(path, number, line) for number, line in enumerate(text.splitlines(), start=1)]


def _parsed(path: str, number: int, line: str) -> Token:
    words = line.split()
    if len(words) != _WORDS or not PATTERN.fullmatch(words[0]):
        raise OrchwatchError(f"{path}: line {number} must be TOKEN ID MACHINE CREATED")
    return Token(token=words[0], id=words[1], machine=words[2], created=words[3])
