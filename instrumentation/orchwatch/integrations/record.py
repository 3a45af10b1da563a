"""The outcome for each callable to be watched, over all processes of a user.

A small text file in the home directory, one line a callable: when it was called for the first time
by the process that did so last, when it was last looked for, what was found, and the callable. A
process writes its first call of each, so nothing is lost when it is killed; a look that finds what
is known already writes nothing.
"""

from __future__ import annotations

import os
import time

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home
from orchwatch.recording.locks import lock_exclusively

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What was found, from the least that is known to the most.
ABSENT = "absent"  # no module of that name can be found
UNIMPORTED = "unimported"  # there may be such a module, and no process imported it
UNCALLED = "uncalled"  # it is watched, and was not called
PROBLEM = "problem"  # it is missing or cannot be watched
CALLED = "called"

_STATES = (ABSENT, UNIMPORTED, UNCALLED, PROBLEM, CALLED)
_MAX_BYTES = 128 * 1024
_MAX_ENTRIES = 256
_MAX_CHARACTERS = 200
_WAIT_S = 0.05


class Entry:
    """What is known of one callable.

    Attributes:
        called_ns: Unix time of the newest first call by a process; 0 where there was none.
        seen_ns: Unix time at which a process last found out that much and did not call it.
        state: What it found, one of this module's constants.
        text: The same for a person, to be read after the callable's name.
    """

    __slots__ = ("called_ns", "seen_ns", "state", "text")

    def __init__(
        self, called_ns: int = 0, seen_ns: int = 0, state: str = ABSENT, text: str = ""
    ) -> None:
        self.called_ns = called_ns
        self.seen_ns = seen_ns
        self.state = state
        self.text = text


def read() -> dict[str, Entry]:
    """What is known, by callable; nothing where the file cannot be read."""
    try:
        file = files.descriptor(_path(), links=False)
    except OSError:
        return {}
    try:
        lock_exclusively(file, _WAIT_S)  # one that is held for too long is not waited for
        return _parse(os.read(file, _MAX_BYTES))
    except OSError:
        return {}
    finally:
        os.close(file)


def note(found: Mapping[str, tuple[str, str]]) -> dict[str, Entry] | None:
    """Adds what a process has found.

    Where less is found than was known (no module, where another process has watched the function),
    what was known stays.

    Args:
        found: State and text by callable.

    Returns:
        What was known before; None where it could not be written.
    """
    try:
        os.makedirs(home(), DIRECTORY_MODE, exist_ok=True)
        file = files.descriptor(_path(), os.O_RDWR | os.O_CREAT, links=False)
    except OSError:
        return None
    try:
        if not lock_exclusively(file, _WAIT_S):
            return None
        before = os.read(file, _MAX_BYTES)
        entries = _parse(before)
        known = dict(entries)
        now_ns = time.time_ns()
        for target, (state, text) in found.items():
            key = _clean(target)
            entries[key] = _merge(entries.get(key) or Entry(), state, text, now_ns)
        return known if _write(file, before, _format(entries)) else None
    except OSError:
        return None
    finally:
        os.close(file)


def find(entries: Mapping[str, Entry], target: str) -> Entry | None:
    """The entry of a callable as the user spells it."""
    return entries.get(_clean(target))


def never_called(since_ns: int) -> list[str]:
    """One line for each callable that was looked for in vain since then, and never called before.

    Those whose module exists and was not imported are left out, as are problems, which the process
    that met them has reported already.
    """
    return [
        f"{target} {entry.text}"
        for target, entry in sorted(read().items())
        if entry.seen_ns >= since_ns and not entry.called_ns and entry.state in (ABSENT, UNCALLED)
    ]


def _path() -> str:
    return os.path.join(home(), "watched")


def _merge(old: Entry, state: str, text: str, now_ns: int) -> Entry:
    if state == CALLED:
        return Entry(now_ns, old.seen_ns, UNCALLED, old.text)
    if state in (ABSENT, UNIMPORTED) and _STATES.index(state) < _STATES.index(old.state):
        return old
    return Entry(old.called_ns, now_ns, state, _clean(text))


def _clean(text: str) -> str:
    return "".join([character if character.isprintable() else "?" for character in text])[
        :_MAX_CHARACTERS
    ]


def _parse(content: bytes) -> dict[str, Entry]:
    entries = {}
    for line in content.decode("utf-8", "replace").split("\n"):
        fields = line.split("\t")
        if len(fields) == 5 and fields[2] in _STATES:  # noqa: PLR2004 - as `_format` writes them
            called, seen, state, target, text = fields
            if called.isdecimal() and seen.isdecimal():
                entries[target] = Entry(int(called), int(seen), state, text)
    return entries


def _format(entries: dict[str, Entry]) -> bytes:
    newest = sorted(entries.items(), key=lambda item: -max(item[1].called_ns, item[1].seen_ns))
    return "".join(
        [
            f"{entry.called_ns}\t{entry.seen_ns}\t{entry.state}\t{target}\t{entry.text}\n"
            for target, entry in newest[:_MAX_ENTRIES]
        ]
    ).encode("utf-8", "replace")[:_MAX_BYTES]


def _write(file: int, before: bytes, content: bytes) -> bool:
    if os.pwrite(file, content, 0) == len(content):
        os.ftruncate(file, len(content))
        return True
    os.ftruncate(file, len(before))  # the disk is full; what was there has its place
    os.pwrite(file, before, 0)
    return False
