"""Where a user's files lie.

Paths are plain strings here and on the whole fast path: importing `pathlib` alone would cost a
hook more than writing its span does.
"""

import os

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_USER_FILE = "orchwatch.toml"
USER_FILE_BYTES = 1024 * 1024
"""Size limit of a user's file; a few hundred rows take a tenth of it."""


def home() -> str:
    """The directory named by `ORCHWATCH_HOME`, else `orchwatch` in the XDG state directory."""
    environ = os.environ
    explicit = environ.get("ORCHWATCH_HOME")
    if explicit:
        return os.path.abspath(explicit)
    state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "orchwatch")


def user_file() -> str | None:
    """The user's `orchwatch.toml`, which need not exist where `ORCHWATCH_CONFIG` names it.

    Otherwise the one in the current directory, else the one in the XDG config directory.
    """
    environ = os.environ
    explicit = environ.get("ORCHWATCH_CONFIG")
    if explicit:
        return explicit
    config_home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for file in (_USER_FILE, os.path.join(config_home, "orchwatch", _USER_FILE)):
        # Something other than a file, or a dangling link, is reported by the code that reads it.
        if os.path.lexists(file):
            return file
    return None


def spool_directory() -> str:
    """The directory of the spool's segments."""
    return os.path.join(home(), "spool")
