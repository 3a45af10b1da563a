"""Which services send their operations over OTLP, so that commands can say where those are.

Such a process leaves nothing in the spool. It leaves one small file for its service and endpoint,
written when it begins and touched when it ends: `otlp/<digest of the two>.json` in the home.
"""

from __future__ import annotations

import os

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SERVICES = 64
"""How many are remembered; the one seen longest ago is removed first."""

_DIRECTORY = "otlp"
_SUFFIX = ".json"
_MAX_BYTES = 4096


def begin(service: str, endpoint: str) -> str | None:
    """Notes that this process sends there; returns the file with the note, None if it failed.

    Args:
        service: Its name.
        endpoint: An address; parts that may be secret are left out.
    """
    import json  # noqa: PLC0415 - not needed to append to the spool
    from hashlib import sha256  # noqa: PLC0415 - as above, nor to read

    address = _public(endpoint)
    directory = os.path.join(home(), _DIRECTORY)
    name = sha256(f"{service}\0{address}".encode("utf-8", "replace")).hexdigest()[:16] + _SUFFIX
    path = os.path.join(directory, name)
    document = {
        "service": service,
        "endpoint": address,
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }
    try:
        os.makedirs(directory, mode=DIRECTORY_MODE, exist_ok=True)
        _make_room(directory, name)
        files.replace(path, json.dumps(document).encode()[:_MAX_BYTES])
    except (OSError, ValueError):
        return None  # a home that cannot be written: `doctor` says so
    return path


def end(path: str | None) -> None:
    """Updates the time that the service was last seen."""
    try:
        if path is not None:
            os.utime(path)
    except OSError:
        pass  # it was the oldest of too many, or the home is gone


def read(directory: str, *, since_ns: int) -> list[dict[str, Any]]:
    """Each service: `service`, `endpoint`, `running`, and `seen_ns`, the one seen last first.

    Args:
        directory: The home.
        since_ns: Leaves out services that do not run and were last seen before, in Unix
            nanoseconds.
    """
    import json  # noqa: PLC0415 - as above

    found: list[dict[str, Any]] = []
    place = os.path.join(directory, _DIRECTORY)
    try:
        entries = sorted(os.listdir(place))
    except OSError:
        return []
    for entry in entries:
        path = os.path.join(place, entry)
        try:
            if not entry.endswith(_SUFFIX):
                continue
            document = json.loads(files.read(path, _MAX_BYTES))
            known = {"service": str(document["service"]), "endpoint": str(document["endpoint"])}
            running = document["host"] == os.uname().nodename and _runs(int(document["pid"]))
            seen_ns = os.stat(path).st_mtime_ns
        except (OSError, ValueError, LookupError, TypeError):
            continue  # removed meanwhile, or not written by us
        if running or seen_ns >= since_ns:
            found.append({**known, "running": running, "seen_ns": seen_ns})
    found.sort(key=lambda one: (not one["running"], -one["seen_ns"]))
    return found


def _make_room(directory: str, name: str) -> None:
    known = [entry for entry in os.listdir(directory) if entry.endswith(_SUFFIX) and entry != name]
    if len(known) >= MAX_SERVICES:
        paths = [os.path.join(directory, entry) for entry in known]
        os.unlink(min(paths, key=lambda path: os.stat(path).st_mtime_ns))


def _public(endpoint: str) -> str:
    """An address without user, password and query."""
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        scheme, rest = "", endpoint
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0
