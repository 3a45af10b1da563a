"""What this machine has sent again, so that what is still on its way is not counted once more."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from orchwatch.diagnosis.fleet import machine
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE

if TYPE_CHECKING:
    from collections.abc import Collection

# An agent may have as much to send before it; what is missing after that was dropped again.
KEPT_S = 24 * 3600

_MAX_BYTES = 1024 * 1024 * 1024
_WORDS = 3


def on_their_way() -> dict[tuple[str, str], int]:
    """Trace and span ids of what was sent again within a day, with when, in Unix seconds.

    Raises:
        OrchwatchError: The file cannot be read.
    """
    path = _path()
    try:
        text = files.read(path, _MAX_BYTES).decode("ascii", "replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    since_s = time.time() - KEPT_S
    found = {}
    for words in map(str.split, text.splitlines()):
        if len(words) == _WORDS and words[2].isdecimal() and int(words[2]) > since_s:
            found[words[0], words[1]] = int(words[2])
    return found


def note(spans: Collection[tuple[str, str]]) -> None:
    """Adds what is sent again now.

    Raises:
        OrchwatchError: The file cannot be written.
    """
    known = {**on_their_way(), **dict.fromkeys(spans, int(time.time()))}
    text = "".join(f"{trace} {span} {at_s}\n" for (trace, span), at_s in known.items())
    path = _path()
    try:
        os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)
        files.replace(path, text.encode(), sync=True)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error


def _path() -> str:
    return os.path.join(machine.directory(), "resent")
