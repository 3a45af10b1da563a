"""Which process runs which session, as Claude Code itself keeps it in `sessions/PID.json`.

The file goes when the process ends in order, and stays when it is killed until another one tidies
up. It says by which name of process ids, and since when by the machine's clock, so that neither a
process of another machine or container nor one that got the same id later is taken for it. The
files beside it that end in `.key` hold secrets and are left alone.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

from orchwatch.agents.sessions.fields import mapping, text
from orchwatch.recording import files

_NAME = re.compile(r"[0-9]{1,10}\.json")
_MAX_BYTES = 1 << 20
_GONE_STATES = (b"Z", b"X")  # ended, and not waited for
_STATE, _START = 0, 19  # of the members of /proc/PID/stat after the name


class Client(NamedTuple):
    """A process of Claude Code on this machine.

    Attributes:
        pid: Its id.
        start: When it was started, in the kernel's ticks since the machine's start.
    """

    pid: int
    start: str

    def is_alive(self) -> bool:
        """Whether it runs; False where something else has its id by now."""
        try:
            stat = files.read(f"/proc/{self.pid}/stat", _MAX_BYTES)
        except OSError:
            return False
        members = stat.rpartition(b")")[2].split()
        return members[_STATE] not in _GONE_STATES and members[_START].decode() == self.start


def directory(projects: str) -> str:
    """Where the files lie that go with a projects folder."""
    return os.path.join(os.path.dirname(os.path.abspath(projects)), "sessions")


def file_paths(place: str) -> list[str]:
    """The files in that directory."""
    try:
        names = os.listdir(place)
    except OSError:  # an older version, or nothing has run yet
        return []
    return [os.path.join(place, name) for name in names if _NAME.fullmatch(name)]


def read(path: str, domain: str) -> tuple[Client, str] | None:
    """A client and the session that it runs; None where unknown, or on another machine.

    Args:
        path: The file.
        domain: What `pid_domain` says.
    """
    try:
        record = mapping(json.loads(files.read(path, _MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None
    pid, start, session_id = (
        record.get("pid"),
        text(record.get("procStart")),
        text(record.get("sessionId")),
    )
    if type(pid) is not int or pid <= 0 or not (start and session_id):
        return None
    return (
        (Client(pid, start), session_id) if domain and record.get("pidDomain") == domain else None
    )


def is_lost(projects: str, session_id: str) -> bool:
    """Whether a session's process is noted and no more: it was killed, and nothing runs it now.

    Args:
        projects: The projects folder that the session lies in.
        session_id: Which session.
    """
    domain = pid_domain()
    noted = [read(path, domain) for path in file_paths(directory(projects))]
    running = [found[0].is_alive() for found in noted if found and found[1] == session_id]
    return bool(running) and not any(running)


def pid_domain() -> str:
    """Where this process' ids hold, as Claude Code writes it; empty where that is not known."""
    try:
        machine = files.read("/etc/machine-id", _MAX_BYTES).decode().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return ""
    return f"linux:{machine}:{namespace}" if machine else ""
