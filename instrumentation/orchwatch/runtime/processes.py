"""Processes: which one it is, whether it still runs, and the end of those that belong together.

What is asked about others stands in `/proc`: on Linux, that is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from functools import lru_cache

from orchwatch.recording import files, in_flight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MARK = "ORCHWATCH_AGENT_OF"
"""Set for each agent and what it starts: the session, and the identity of its supervisor."""

_MARK_BYTES = f"{MARK}=".encode()
_POLL_S = 0.02
# A process that takes longer to die of SIGKILL waits for a disk that does not answer.
_KILLED_S = 5.0
_STAT_BYTES = 4096
_ENVIRONMENT_BYTES = 4 * 1024 * 1024
_DEAD = ("Z", "X")


def identity() -> str:
    """Names this process for good, even where its pid is reused later.

    Its pid, when it was started, its pid namespace and the boot, as `in-flight` files have them.
    """
    return _identity(os.getpid())


@lru_cache(maxsize=1)
def _identity(pid: int) -> str:
    return f"{pid} {in_flight.start_time(pid)} {in_flight.namespace()} {in_flight.boot_id()}"


def is_running(identity: str) -> bool:
    """Whether the process runs; one that has ended and was not yet waited for does not.

    One of another pid namespace, a container's, cannot be seen and counts as running until the
    machine is booted anew.
    """
    parts = identity.split(" ")
    if len(parts) != 4 or not parts[0].isdecimal():  # noqa: PLR2004 - as it is written
        return False
    pid, started, namespace, boot = parts
    if boot != in_flight.boot_id():
        return False
    if namespace != in_flight.namespace():
        return True
    return in_flight.start_time(int(pid)) == started and not _is_dead(int(pid))


def mark(session_id: str, supervisor: str) -> str:
    """The value of `MARK` for the agents of a supervisor."""
    return f"{session_id} {supervisor}"


def marked(is_meant: Callable[[str], bool]) -> list[int]:
    """The processes of this user that carry a mark for which `is_meant` holds."""
    found = []
    for pid in _pids():
        try:
            environment = files.read(f"/proc/{pid}/environ", _ENVIRONMENT_BYTES)
        except OSError:
            continue  # gone, or another user's
        at = (b"\0" + environment).find(b"\0" + _MARK_BYTES)
        if at >= 0:
            value = environment[at + len(_MARK_BYTES) :].partition(b"\0")[0]
            if is_meant(value.decode(errors="replace")) and not _is_dead(pid):
                found.append(pid)
    return found


def end_all(find: Callable[[], Collection[int]], grace_s: float, settle_s: float = 0.0) -> int:
    """Ends processes: SIGTERM for each, SIGKILL for what `find` still gives after `grace_s`.

    Args:
        find: The processes that are left.
        grace_s: What they may take to end in order.
        settle_s: Look again for so long, for what was only being started.

    Returns:
        How many there were.
    """
    started_s = time.monotonic()
    seen: set[int] = set()
    while True:
        left = set(find())
        late = time.monotonic() - started_s >= grace_s
        for pid in left if late else left - seen:
            _send(os.kill, pid, signal.SIGKILL if late else signal.SIGTERM)
            # One that was stopped takes SIGTERM only once it goes on.
            _send(os.kill, pid, signal.SIGCONT)
        seen |= left
        passed_s = time.monotonic() - started_s
        if (not left and passed_s >= settle_s) or passed_s >= grace_s + _KILLED_S:
            return len(seen)
        time.sleep(_POLL_S)


def end_group(group: int, grace_s: float) -> None:
    """Ends a process group: SIGTERM, and SIGKILL for what is left after `grace_s`."""
    end_all(lambda: _members(group), grace_s)


def wait(pid: int, timeout_s: float | None = None) -> bool:
    """Whether a process ends in time; a child is left to be collected."""
    with contextlib.suppress(OSError, AttributeError):  # gone, an old kernel, another system
        descriptor = os.pidfd_open(pid)
        try:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            return bool(waiting.poll(None if timeout_s is None else timeout_s * 1000))
        finally:
            os.close(descriptor)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not _is_dead(pid):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def runs(pid: int) -> bool:
    """Whether a process of that number runs, whosoever it is."""
    return not _is_dead(pid)


def _members(group: int) -> list[int]:
    """The processes of a group; those that wait to be collected do nothing any more."""
    if not _send(os.killpg, group, 0):
        return []
    return [pid for pid in _pids() if _in_group(pid, group)]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _in_group(pid: int, group: int) -> bool:
    # The kernel is asked first: each agent that ends looks at every process, and to read a file of
    # each takes a hundred times as long.
    try:
        return os.getpgid(pid) == group and not _is_dead(pid)
    except OSError:
        return False


def _is_dead(pid: int) -> bool:
    return (_stat(pid) or _DEAD)[0] in _DEAD


def _stat(pid: int) -> list[str]:
    """State, parent, group and the rest, as `proc_pid_stat(5)` has them behind the name."""
    try:
        with files.reader(f"/proc/{pid}/stat") as stat:
            return stat.read(_STAT_BYTES).rpartition(b")")[2].decode().split()
    except OSError:
        return []


def _send(send: Callable[[int, int], None], to: int, number: int) -> bool:
    try:
        send(to, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
