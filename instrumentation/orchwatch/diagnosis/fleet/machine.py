"""Which machine this is."""

from __future__ import annotations

import os
import re

from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording import secret_file
from orchwatch.recording.home import home

# 128 bits, as long as the machine id of systemd.
_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}")
# They become part of a configuration, of file names and of labels.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_NAME = 63


def directory() -> str:
    """The directory of all that a fleet keeps on this machine."""
    return os.path.join(home(), "fleet")


def machine_id() -> str:
    """This machine's id, 32 hexadecimal digits; drawn once, whatever the host is called later.

    Raises:
        OrchwatchError: Its file cannot be read or written, or holds something else.
    """
    path = os.path.join(directory(), "machine-id")
    found = secret_file.make(path, _ID_BYTES)
    if not _ID.fullmatch(found):
        raise OrchwatchError(f"{path}: must hold 32 hexadecimal digits; remove it for a new id")
    return found


def host_name() -> str:
    """What the machine is called now, in letters, digits, `.`, `_` and `-`."""
    name = _NOT_OF_A_NAME.sub("-", os.uname().nodename)[:_MAX_NAME].strip("-._")
    return name or "unnamed"


def checked_name(what: str, name: str) -> str:
    """The name of a machine or a team, if it is one.

    Raises:
        UsageError: It is none; the message begins with `what`.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} {name!r}: must be up to {_MAX_NAME} letters, digits, '.', '_' and '-', and"
            " begin and end with a letter or a digit"
        )
    return name
