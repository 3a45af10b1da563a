"""Where everything that a user keeps lies.

Paths are plain strings here and on the whole fast path: importing `pathlib` alone would cost a
hook more than writing its span does.
"""

import os

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def home() -> str:
    """The directory named by `ORCHWATCH_HOME`, else `orchwatch` in the XDG state directory."""
    environ = os.environ
    explicit = environ.get("ORCHWATCH_HOME")
    if explicit:
        return os.path.abspath(explicit)
    state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "orchwatch")


def spool_directory() -> str:
    """The directory of the spool's segments."""
    return os.path.join(home(), "spool")
