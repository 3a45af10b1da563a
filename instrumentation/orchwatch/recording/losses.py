"""What telemetry has lost, and why: counted in a small ledger, never raised.

The ledger is a text file of fixed-width lines, `reason count`, one for each reason, all written
when it is created. Counting then overwrites bytes that the file system has already allocated, so it
still works when the disk is full. Each loss is in the ledger when `count` returns; a segment is
dropped by renaming it to a name that gives its number of lines, which counts until the ledger has
it. So a process that is killed takes no count with it. Where the home directory itself cannot be
written, a ledger in the user's runtime or temporary directory takes over; `read` adds them up.
"""

import atexit
import os
import sys
import time
from _signal import NSIG, getsignal  # type: ignore[import-not-found]  # `signal` needs `enum`
from _thread import allocate_lock

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home, spool_directory
from orchwatch.recording.locks import lock_exclusively

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Reason: what it means, what to do about it.
REASONS = {
    "spool_unwritable": (
        "operations that could not be appended to the spool",
        "give the user write access to ORCHWATCH_HOME, or point it elsewhere",
    ),
    "disk_full": (
        "operations that did not fit on the disk",
        "free some space on the disk that holds ORCHWATCH_HOME",
    ),
    "budget_dropped": (
        "oldest lines dropped to keep the spool within its budget",
        "raise ORCHWATCH_SPOOL_BUDGET_BYTES, or see why the collector does not keep up",
    ),
    "refused": (
        "spans and data points that the OTLP server refused, out of requests that it took",
        "see the server's log for what it refuses",
    ),
    "bad_span": (
        "spans of other instrumentations that cannot be written",
        "find the instrumentation whose span name is not a str",
    ),
    "bad_name": (
        "operations whose name is not a str",
        "pass operation() a short constant str",
    ),
    "bad_attribute": (
        "attributes left out: neither str, int, float, bool nor a list of these, or too many",
        "convert the value before it is passed as an attribute",
    ),
    "bad_metric": (
        "counters and gauges whose name is not a str or whose value is not a usable number",
        "pass count() a number of 0 or more, and gauge() a finite one",
    ),
    "bad_traceparent": (
        "TRACEPARENT values that are not valid W3C Trace Context, ignored",
        "find the parent process that sets TRACEPARENT",
    ),
    "bad_baggage": (
        "BAGGAGE entries that are not valid W3C Baggage, ignored",
        "find the parent process that sets BAGGAGE",
    ),
    "bad_headers": (
        "message headers that could not be read or written",
        "pass inject() and attach() a mapping of str to str",
    ),
    "bad_hook_payload": (
        "hook events whose payload is not a JSON object that names the event, ignored",
        "find what runs orchwatch's hook; `orchwatch claude install` registers it",
    ),
    "bad_session_line": (
        "lines of session files that cannot be read, or only in part",
        "nothing to do: the process that wrote them was killed, or the disk was full",
    ),
    "rewritten_session": (
        "session files that were rewritten; what was removed before it was read is unknown",
        "find what truncates or restores the files below the projects folder",
    ),
    "bad_alert": (
        "notifications and alerts that are not in Alertmanager's format, ignored",
        "find what posts to /alerts of `orchwatch monitor`",
    ),
    "bad_setting": (
        "ORCHWATCH_* settings that are not a valid number; the default is used",
        "correct the environment variable",
    ),
    "interrupted": (
        "operations whose recording an exception from the program's signal handler interrupted",
        "nothing to do: the exception was raised on to the program",
    ),
    "internal_error": (
        "operations lost to a bug in orchwatch",
        "please report it",
    ),
}

_BUDGET = "budget_dropped"
_SETTLED = "settled"  # not a loss: the last drop that the ledger includes
_DROPPED_PREFIX = ".dropped-"
_RETRY_INTERVAL_S = 1.0  # where no ledger could be written
_WAIT_S = 0.02
_EXIT_WAIT_S = 0.05
_LEDGER_BYTES = 65_536
_MAX_DIGITS = 20
# The `stat` module's S_IFMT, S_IFDIR and S_IWGRP | S_IWOTH.
_FORMAT_BITS, _DIRECTORY_FORMAT, _OTHERS_WRITE = 0o170000, 0o040000, 0o022

_lock = allocate_lock()
_counted: list[tuple[str, int]] = []  # appending to a list needs no lock
_pending: dict[str, int] = {}  # the same summed, by the holder of the lock
_next_flush = 0.0
_exit_followed = False
# For tests: takes a reason and a number; True if it has handled them.
_diversion: "Callable[[str, int], bool] | None" = None


def count(reason: str, number: int = 1) -> None:
    """Adds to a reason's count, in the ledger if its lock is free. Never raises."""
    if number <= 0 or (_diversion is not None and _diversion(reason, number)):
        return
    _counted.append((reason, number))
    if not _exit_followed:
        _follow_exit()
    if time.monotonic() >= _next_flush:
        _write_down(_WAIT_S)


def divert(diversion: "Callable[[str, int], bool] | None") -> None:
    """Offers each loss to a callback first, which may handle it; None removes the callback."""
    global _diversion  # noqa: PLW0603
    _diversion = diversion


def drop(path: str, lines: int) -> None:
    """Removes a segment whose lines are lost, and counts them exactly once, even if killed.

    Raises:
        OSError: It cannot be removed; nothing is counted.
    """
    directory = os.path.dirname(path)
    os.rename(path, f"{directory}/{_DROPPED_PREFIX}{lines}-{int.from_bytes(os.urandom(7))}")
    if _lock.acquire(blocking=False):  # otherwise the next drop settles this one too
        try:
            _settle(directory)
        finally:
            _lock.release()


def count_error(reason: str, error: Exception) -> None:
    """Counts the loss that an exception has caused.

    Raises:
        Exception: The same one, if it belongs to the host and not to telemetry; see `is_hosts`.
    """
    if is_hosts(error):
        raise error
    count(reason)


def is_hosts(error: Exception) -> bool:
    """Whether a signal handler of the host has raised it, while telemetry happened to run.

    A time limit, say, which must reach the host. Such a handler is identified by its caller: Python
    passes it the very frame that it interrupts and calls it from. A handler that has deleted
    that argument, being unused, is recognised by its code.
    """
    handlers = [getattr(getsignal(number), "__code__", None) for number in range(1, NSIG)]
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        interrupted, step = step.tb_frame, step.tb_next
        if step.tb_frame.f_code in handlers:
            return True
        for argument in step.tb_frame.f_locals.values():
            among = argument if type(argument) is tuple else (argument,)
            if any(one is interrupted for one in among):
                return True
    return False


def flush() -> None:
    """Writes what is still pending, waiting a moment for other processes that do the same."""
    if _counted or _pending:
        _write_down(_EXIT_WAIT_S)


def read() -> dict[str, int]:
    """Every reason with a count above zero, over all ledgers of this user's current home."""
    totals: dict[str, int] = {}
    settled = 0
    for path, shared in _paths():
        try:
            if shared and not _is_private(os.path.dirname(path)):
                continue
            with files.reader(path, links=False) as ledger:
                counts = _parse(ledger.read(_LEDGER_BYTES))
        except OSError:
            continue
        settled = counts.pop(_SETTLED, settled)
        for reason, number in counts.items():
            totals[reason] = totals.get(reason, 0) + number
    try:
        unsettled = _dropped(spool_directory())
    except OSError:
        unsettled = []
    for _, lines, token in unsettled:
        if token != settled:
            totals[_BUDGET] = totals.get(_BUDGET, 0) + lines
    return {reason: number for reason, number in totals.items() if number}


def _paths() -> list[tuple[str, bool]]:
    """Where ledgers may lie, and whether other users can write to the parent directory."""
    try:
        directory = home()
    except OSError:  # a relative one, and the working directory is gone
        directory = ""
    # The name keeps the ledgers of several homes apart.
    name = "losses" + os.fsdecode(os.fsencode(directory)[-150:]).replace("/", "%")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - owner and mode are checked below
    paths = [(f"{directory}/losses", False)] if directory else []
    if runtime:
        paths.append((f"{runtime}/orchwatch/{name}", True))
    paths.append((f"{temporary}/orchwatch-{os.geteuid()}/{name}", True))
    return paths


def _write_down(wait_s: float) -> None:
    # A lock that is taken already (another thread, or a signal handler that interrupts this very
    # function) must not stop the host: the holder looks again once it has released it.
    while _counted or _pending:
        if not _lock.acquire(blocking=False):
            return
        try:
            written = _flush(wait_s)
        finally:
            _lock.release()
        if not written:
            return


def _flush(wait_s: float) -> bool:
    global _next_flush  # noqa: PLW0603 - one ledger a process, as there is one home
    while _counted:
        reason, number = _counted.pop()
        _pending[reason] = _pending.get(reason, 0) + number
    for path, shared in _paths():
        ledger = _open(path, wait_s, shared=shared)
        if ledger < 0:
            continue
        try:
            before = os.read(ledger, _LEDGER_BYTES)
            totals = _parse(before)
            for reason, number in _pending.items():
                totals[reason] = totals.get(reason, 0) + number
            if _write(ledger, before, totals):
                _pending.clear()
                return True
        except OSError:
            continue
        finally:
            os.close(ledger)
    _next_flush = time.monotonic() + _RETRY_INTERVAL_S
    return False


def _settle(directory: str) -> None:
    """Adds what was dropped to the ledger.

    The ledger names the last drop that it includes, written together with the count: that shows
    whether a process was killed before it removed the file.
    """
    ledger = _open(f"{os.path.dirname(directory)}/losses", _WAIT_S, shared=False)
    if ledger < 0:
        return
    try:
        for path, lines, token in _dropped(directory):
            before = os.pread(ledger, _LEDGER_BYTES, 0)
            totals = _parse(before)
            if totals.get(_SETTLED) != token:
                totals[_BUDGET] = totals.get(_BUDGET, 0) + lines
                totals[_SETTLED] = token
                if not _write(ledger, before, totals):
                    # Its name still counts.
                    os.close(files.descriptor(path, os.O_WRONLY | os.O_TRUNC, links=False))
                    continue
            os.unlink(path)
    except OSError:
        return  # another time
    finally:
        os.close(ledger)


def _dropped(directory: str) -> list[tuple[str, int, int]]:
    """Path, number of lines and token of each drop that may not be in the ledger yet."""
    found = []
    for name in os.listdir(directory):
        if name.startswith(_DROPPED_PREFIX):
            lines, _, token = name[len(_DROPPED_PREFIX) :].partition("-")
            if lines.isdecimal() and token.isdecimal():
                found.append((f"{directory}/{name}", int(lines), int(token)))
    return found


def _is_private(directory: str) -> bool:
    """Whether it belongs to this user, and is not a link that another user has put there."""
    status = os.lstat(directory)
    is_directory = status.st_mode & _FORMAT_BITS == _DIRECTORY_FORMAT
    return is_directory and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _open(path: str, wait_s: float, *, shared: bool) -> int:
    """A ledger, opened and locked; -1 if that fails."""
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
        if shared and not _is_private(directory):
            return -1
        ledger = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
        if lock_exclusively(ledger, wait_s):
            return ledger
        os.close(ledger)
    except OSError:
        pass
    return -1


def _write(ledger: int, before: bytes, totals: dict[str, int]) -> bool:
    lines = {**dict.fromkeys(REASONS, 0), **totals}
    text = "".join(f"{reason:<40} {number:>20}\n" for reason, number in lines.items()).encode()
    if os.pwrite(ledger, text, 0) == len(text):
        return True
    # A ledger that could not grow: a partly written one would be counted twice.
    os.ftruncate(ledger, len(before))
    os.pwrite(ledger, before, 0)
    return False


def _parse(text: bytes) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in text.split(b"\n"):
        reason, _, number = line.strip().rpartition(b" ")
        if reason and number.isdigit() and len(number) <= _MAX_DIGITS:
            counts[reason.strip().decode("ascii", "replace")] = int(number)
    return counts


def _follow_exit() -> None:
    global _exit_followed  # noqa: PLW0603
    _exit_followed = True
    # A child that `multiprocessing` has forked runs its finalizers, but no exit handlers.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, flush, exitpriority=0)


def _after_fork() -> None:
    global _exit_followed, _lock, _next_flush  # noqa: PLW0603
    _exit_followed = False
    _lock = allocate_lock()
    _next_flush = 0.0
    _counted.clear()
    _pending.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush)
