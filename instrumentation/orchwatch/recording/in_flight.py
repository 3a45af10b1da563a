"""Which operations are open now, so that one whose process is killed is recorded too.

A span is written as its operation ends, and a killed process ends none of its own. So each process
keeps a small file, `in-flight/<pid>-<random>` in the home directory: a header that says who it is,
then a slot for each open operation, overwritten in place. The process holds a lock on its file,
which the kernel drops when it is gone, in any container; the next reader
(`orchwatch.store.unfinished`) writes the missing spans.

Writing every start and end would double the cost of an operation, and a memory map would be cheap
but kill the host (SIGBUS) where the file system has no room. So only these are written: the first
operation of each name in a process, operations of a name once one of them has lasted `LONG_S`, and
those that have been open for `LONG_S` when something else is written.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import time

from orchwatch import semconv
from orchwatch.recording import active, files, losses
from orchwatch.recording.home import DIRECTORY_MODE, home
from orchwatch.recording.otlp_json import encode_attributes, quote, spans_prefix, to_bytes
from orchwatch.recording.resources import resource_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchwatch.recording.recorder import Operation

LONG_S = 0.1
DIRECTORY = "in-flight"
HEADER_BYTES = 4096
SLOT_BYTES = 1024
REASON_BYTES = 32  # at the end of the header: why the process ends, if it knows
SLOTS = 256
EXITED = "process exited"

_RETRY_INTERVAL_S = 1.0
_LONG_NS = int(LONG_S * 1e9)
_MAX_NAMES = 1024
_MAX_OPEN = 4096
_START_TIME = 19  # in /proc/PID/stat, counted behind the name in parentheses


class _File:
    """This process' file; made with the first operation that is written."""

    def __init__(self) -> None:
        directory = f"{home()}/{DIRECTORY}"
        os.makedirs(home(), DIRECTORY_MODE, exist_ok=True)  # of those above, it takes no mode
        os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
        self.pid = os.getpid()
        self.home = os.environ.get("ORCHWATCH_HOME")
        self.path = f"{directory}/{self.pid}-{os.urandom(8).hex()}"
        self.free = list(range(SLOTS - 1, -1, -1))
        header = to_bytes(f"{_identity(self.pid)}\n{_prefix()}\n")
        # Locked before it has its name: a reader must not take it for a dead process'.
        unnamed = f"{directory}/.{os.urandom(8).hex()}"
        self.descriptor = files.descriptor(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(self.descriptor)
            self.inode = status.st_dev, status.st_ino
            os.pwrite(self.descriptor, header[: HEADER_BYTES - REASON_BYTES], 0)
            os.rename(unnamed, self.path)
        except OSError:
            os.close(self.descriptor)
            os.unlink(unnamed)
            raise

    def write(self, offset: int, data: bytes) -> None:
        """Writes in place, unless the host has closed the file and given its number to another."""
        status = os.fstat(self.descriptor)
        if (status.st_dev, status.st_ino) != self.inode:
            raise OSError("the host has closed it")
        os.pwrite(self.descriptor, data, offset)


_file: _File | None = None
_retry_at = 0.0
_short: set[str] = set()  # names of operations that take less than LONG_S here
_open: dict[Operation, tuple[_File, int] | None] = {}  # in the order of their starts


def begin(op: Operation) -> None:
    """Called when an operation has started. Skipped for names known to be short."""
    short = op.name in _short
    if len(_open) >= _MAX_OPEN:  # a host that never ends them
        _open.pop(next(iter(_open)), None)
    _open[op] = None
    if not short:
        try:
            _write_open(op)
        except BaseException:  # a signal handler's: the operation does not begin
            _close(_open.pop(op, None))
            raise


def end(op: Operation) -> None:
    """Called when the span of the operation has been recorded."""
    _close(_open.pop(op, None))
    if time.perf_counter_ns() - op.clock_ns < _LONG_NS:
        if op.name not in _short and op.name not in semconv.LONG_OPERATIONS:
            if len(_short) >= _MAX_NAMES:
                _short.clear()
            _short.add(op.name)
    elif op.name in _short:
        _short.discard(op.name)


def _close(slot: tuple[_File, int] | None) -> None:
    if slot is not None and slot[0] is _file:
        file, number = slot
        try:
            file.write(HEADER_BYTES + number * SLOT_BYTES, b"\n")
        except OSError as error:
            if losses.is_hosts(error):
                raise
            _remove()
        else:
            file.free.append(number)


def note(reason: str) -> None:
    """Notes why this process is about to end, for the operations that are then open."""
    if _file is not None and _open:
        try:
            _file.write(HEADER_BYTES - REASON_BYTES, _reason(reason))
        except OSError:
            return  # then its reason is "killed"


def note_of(pid: int, reason: str) -> None:
    """Notes why another process has ended, for the operations it had open."""
    directory = f"{home()}/{DIRECTORY}"
    try:
        for name in os.listdir(directory):
            if name.startswith(f"{pid}-"):
                file = files.descriptor(f"{directory}/{name}", os.O_RDWR, links=False)
                os.pwrite(file, _reason(reason), HEADER_BYTES - REASON_BYTES)
                os.close(file)
    except OSError:
        return  # then its reason stays "killed"


def _reason(reason: str) -> bytes:
    return f"{reason[: REASON_BYTES - 1]}\n".encode()


def _write_open(op: Operation) -> None:
    global _file, _retry_at  # noqa: PLW0603 - one file a process
    now = time.monotonic()
    if now < _retry_at:
        return
    try:
        if _file is None or _file.home != os.environ.get("ORCHWATCH_HOME"):
            _remove()
            _file = _File()
        long_ago_ns = time.perf_counter_ns() - _LONG_NS
        for one, slot in list(_open.items()):
            if slot is None and (one is op or one.clock_ns < long_ago_ns) and _file.free:
                line = _slot(one)
                if line:
                    number = _file.free.pop()
                    _open[one] = _file, number
                    _file.write(HEADER_BYTES + number * SLOT_BYTES, line)
    except OSError as error:
        if losses.is_hosts(error):
            raise
        # A full or unwritable disk: the operations themselves are counted as lost.
        _remove()
        _retry_at = now + _RETRY_INTERVAL_S


def _slot(op: Operation) -> bytes:
    started = op.recorder
    if started is None:
        return b""
    parent_span_id, attributes = started.opened(op)
    for among in (attributes, {semconv.OPERATION_NAME: op.name}):
        line = to_bytes(
            f'{{"traceId":"{op.trace_id}","spanId":"{op.span_id}",'
            f'"parentSpanId":"{parent_span_id}","name":{quote(op.name)},'
            f'"startTimeUnixNano":"{op.start_ns}","attributes":[{encode_attributes(among)}]}}\n'
        )
        if len(line) <= SLOT_BYTES:
            return line
    return b""


def _identity(pid: int) -> str:
    """Identifies this process, even if its pid is reused later or in another namespace."""
    return f"{pid} {start_time(pid)} {namespace()} {boot_id()}"


def start_time(pid: int) -> str:
    """When a process was started, in ticks since boot; `-` without the process or /proc."""
    try:
        with files.reader(f"/proc/{pid}/stat") as stat:
            return stat.read(4096).rpartition(b")")[2].split()[_START_TIME].decode()
    except (OSError, IndexError) as error:
        if losses.is_hosts(error):
            raise
        return "-"


def namespace() -> str:
    """The pid namespace of this process; `-` if it is unknown."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError as error:
        if losses.is_hosts(error):
            raise
        return "-"


def boot_id() -> str:
    """The id of the current boot; `-` if it is unknown."""
    try:
        with files.reader("/proc/sys/kernel/random/boot_id") as file:
            return file.read(64).decode().strip() or "-"
    except OSError as error:
        if losses.is_hosts(error):
            raise
        return "-"


def _prefix() -> str:
    service = getattr(active.chosen, "service_name", None)
    return spans_prefix(encode_attributes(resource_attributes(service)))


def _remove() -> None:
    """Removes this process's file: at its exit, or when the home changes."""
    global _file
    file, _file = _file, None
    if file is None or file.pid != os.getpid():
        return
    for one, slot in _open.items():
        if slot is not None and slot[0] is file:
            _open[one] = None
    try:
        os.unlink(file.path)
        status = os.fstat(file.descriptor)
        if (status.st_dev, status.st_ino) == file.inode:
            os.close(file.descriptor)
    except OSError:
        return


def _after_fork() -> None:
    global _file
    file, _file = _file, None
    _open.clear()
    if file is not None:
        try:
            status = os.fstat(file.descriptor)
            if (status.st_dev, status.st_ino) == file.inode:
                os.close(file.descriptor)  # its lock is its parent's
        except OSError:
            return


def _at_exit() -> None:
    if any(slot is not None for slot in _open.values()):  # a daemon thread's
        note(EXITED)
    else:
        _remove()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
