"""Makes the configured wrapping active in a child process that is a Python program.

The child's `PYTHONPATH` gets one directory that holds nothing but a `sitecustomize`, the way
`opentelemetry-instrument` does it; programs in other languages do not notice.
"""

from __future__ import annotations

import os
import time

from orchwatch.recording import files
from orchwatch.recording.home import USER_FILE_BYTES, user_file

INSTRUMENT_VARIABLE = "ORCHWATCH_INSTRUMENT"
# Unix time in nanoseconds of the run's start; its parent reports what was never called since.
SINCE_VARIABLE = "ORCHWATCH_WATCHING_SINCE"
SITE_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")


def environment(environ: dict[str, str]) -> dict[str, str]:
    """The environment with the wrapping made active, if anything is configured to be wrapped.

    Args:
        environ: The child's environment, without the wrapping.

    Returns:
        The same, or a copy with the site directory first in `PYTHONPATH` and the configuration
        file's absolute path, because a child may work in another directory.
    """
    file = configured_file()
    if file is None and not environ.get(INSTRUMENT_VARIABLE):
        return environ
    changed = {SINCE_VARIABLE: str(time.time_ns()), **environ}
    if file is not None:
        changed["ORCHWATCH_CONFIG"] = file
    python_path = environ.get("PYTHONPATH")
    if not python_path:
        changed["PYTHONPATH"] = SITE_DIRECTORY
    elif SITE_DIRECTORY not in python_path.split(os.pathsep):
        changed["PYTHONPATH"] = SITE_DIRECTORY + os.pathsep + python_path
    return changed


def configured_file() -> str | None:
    """The absolute path of the user's file, where it may have an `[instrument]` table.

    It is not parsed: a TOML parser would double what wrapping a command costs. Whether the table
    is there and valid, the child finds out.
    """
    file = user_file()
    if file is None:
        return None
    try:
        found = b"instrument" in files.read(file, USER_FILE_BYTES)
    except OSError:
        return None  # `orchwatch doctor` reports a file that cannot be read
    return os.path.abspath(file) if found else None
