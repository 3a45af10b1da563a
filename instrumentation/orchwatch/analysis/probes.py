"""What sessions take: memory and CPU of their process trees.

A session's processes are found in two ways. Those that Claude Code starts carry its session's id in
their environment; the process that started them is the session's main process, where its command
line says `claude`. And every span names the process that recorded it, so whatever recorded one of a
session's spans belongs to it as long as it runs, except the monitor, which records the spans of the
sessions that it follows.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.recording import files, spool
from orchwatch.store import small_answers
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import psutil

    from orchwatch.store.database import Store

SESSION_VARIABLE = "CLAUDE_CODE_SESSION_ID"
_MAIN_PROGRAM = "claude"
_PROC = "/proc"
_VARIABLE_BYTES = f"{SESSION_VARIABLE}=".encode()
_ENVIRONMENT_BYTES = 4 * 1024 * 1024

# A process that started after the span that named its id ended is another one with the same id.
_CLOCK_TOLERANCE_S = 1.0
_NS = 1e9
_ENDLESS_NS = (1 << 63) - 1

# There are few, and of one column: found ten times sooner than whose spans they recorded.
_RESOURCES = """
SELECT DISTINCT resource FROM (FROM operations UNION ALL BY NAME FROM undelivered)
WHERE {within}
"""
_RECORDERS = """
SELECT session_id, resource, max(end_ns)
FROM (FROM operations UNION ALL BY NAME FROM undelivered)
WHERE end_ns >= $since_ns AND session_id IS NOT NULL AND list_contains($resources, resource)
    AND service IS DISTINCT FROM $followed
GROUP BY session_id, resource
"""


class Tree(NamedTuple):
    """What a tree of processes takes.

    Attributes:
        memory_bytes: Resident; memory that processes share counts for each of them, as RSS does.
        cpu: How many cores it kept busy since the look before; None at the first one.
        processes: How many there are.
    """

    memory_bytes: int
    cpu: float | None
    processes: int


class Sessions:
    """Processes of the sessions that run. Keep it: it remembers which process is whose."""

    def __init__(self) -> None:
        self._roots: dict[psutil.Process, str] = {}
        # By process id: its parent's, and what it takes.
        self._parents: dict[int, int] = {}
        self._takes: dict[int, Tree] = {}
        self._cpu_s: dict[psutil.Process, float] = {}
        self._looked_s = 0.0

    def memory_bytes(self, recorders: Mapping[str, Iterable[psutil.Process]]) -> dict[str, int]:
        """Resident memory of each running session's process tree, by session id; see `trees`."""
        return {owner: tree.memory_bytes for owner, tree in self.trees(recorders).items()}

    def trees(self, recorders: Mapping[str, Iterable[psutil.Process]]) -> dict[str, Tree]:
        """The process tree of each running session, by session id.

        A process counts once, for the session that it belongs to most closely.

        Args:
            recorders: Processes known to belong to a session, see `recorders`.
        """
        known_roots = self._roots or any(recorders.values())
        if not known_roots and not _may_be_named():
            self._parents, self._takes = {}, {}
            return {}
        import psutil  # noqa: PLC0415 - slow: only where a session runs

        processes = {process.pid: process for process in psutil.process_iter(["ppid"])}
        self._roots = {root: owner for root, owner in self._roots.items() if root.is_running()}
        for session_id, known in recorders.items():
            self._roots.update(dict.fromkeys(known, session_id))
        owners = {root.pid: session_id for root, session_id in self._roots.items()}
        for process in processes.values():
            named = _environment(process)
            if named:
                owners[process.pid] = named
                self._adopt_parent(process, named, owners)
        owned = {pid: _owner(process, processes, owners) for pid, process in processes.items()}
        self._take([processes[pid] for pid, owner in owned.items() if owner is not None])
        self._parents = {pid: processes[pid].info["ppid"] or 0 for pid in self._takes}
        found: dict[str, list[Tree]] = {}
        for pid, takes in self._takes.items():
            found.setdefault(owned[pid] or "", []).append(takes)
        return {owner: _added_up(takes) for owner, takes in found.items()}

    def below(self, pid: int) -> Tree | None:
        """What a process and those that it started took at the last look; None of one unknown."""
        takes = [takes for one, takes in self._takes.items() if _is_below(one, pid, self._parents)]
        return _added_up(takes) if takes else None

    def _take(self, processes: Iterable[psutil.Process]) -> None:
        """Looks at what each takes; what has no memory has ended and waits to be collected."""
        import psutil  # noqa: PLC0415 - it is there by now

        now_s, now = time.monotonic(), time.time()
        passed_s = now_s - self._looked_s if self._looked_s else 0.0
        before, self._cpu_s, self._takes = self._cpu_s, {}, {}
        for process in processes:
            with suppress(psutil.Error):
                with process.oneshot():
                    memory_bytes = process.memory_info().rss
                    times = process.cpu_times()
                    is_new = process.create_time() >= now - passed_s
                cpu_s = self._cpu_s[process] = times.user + times.system
                cpu = None
                if passed_s and (process in before or is_new):
                    cpu = max(cpu_s - before.get(process, 0.0), 0.0) / passed_s
                if memory_bytes:
                    self._takes[process.pid] = Tree(memory_bytes, cpu, 1)
        self._looked_s = now_s

    def _adopt_parent(
        self, process: psutil.Process, session_id: str, owners: dict[int, str]
    ) -> None:
        import psutil  # noqa: PLC0415 - it is there by now

        with suppress(psutil.Error):
            parent = process.parent()
            if parent is not None and parent.pid not in owners and _is_main(parent):
                self._roots[parent] = owners[parent.pid] = session_id


def _added_up(trees: Sequence[Tree]) -> Tree:
    measured = [tree.cpu for tree in trees if tree.cpu is not None]
    return Tree(
        memory_bytes=sum(tree.memory_bytes for tree in trees),
        cpu=sum(measured) if measured else None,
        processes=sum(tree.processes for tree in trees),
    )


def _is_below(pid: int, above: int, parents: Mapping[int, int]) -> bool:
    """Whether it is that process, or one that it started."""
    seen = set()
    while pid and pid not in seen:
        if pid == above:
            return True
        seen.add(pid)
        pid = parents.get(pid, 0)
    return False


def recorders(store: Store | SmallStore, *, since_ns: int) -> dict[str, list[psutil.Process]]:
    """The running processes of this machine that recorded a session's spans, by session id.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        rows = _small_recorders(store, since_ns)
    else:
        asked: dict[str, Any] = {"since_ns": since_ns}
        found = (
            store.query(_RESOURCES.format(within="true"))
            if store.is_within(since_ns, _ENDLESS_NS)
            else store.query(_RESOURCES.format(within="end_ns >= $since_ns"), asked)
        )
        texts = [row[0] for row in found if row[0]]
        here = [text for text in texts if _may_run(_pid(json.loads(text)))]
        asked |= {"followed": semconv.CLAUDE_CODE_SERVICE, "resources": here}
        rows = store.query(_RECORDERS, asked) if here else []
    return running(
        (session_id, _pid(json.loads(resource)), end_ns) for session_id, resource, end_ns in rows
    )


def running(recorders: Iterable[tuple[str, int | None, int]]) -> dict[str, list[psutil.Process]]:
    """The processes that still run, by session id.

    Args:
        recorders: Session id, process id, and when a span that it recorded ended, the last of all.
    """
    found: dict[str, list[psutil.Process]] = {}
    for session_id, pid, end_ns in recorders:
        if pid is None or not _may_run(pid):
            continue
        import psutil  # noqa: PLC0415 - slow: only where a session runs

        with suppress(psutil.Error, ValueError, OverflowError):
            process = psutil.Process(pid)
            if process.create_time() <= end_ns / _NS + _CLOCK_TOLERANCE_S:
                found.setdefault(session_id, []).append(process)
    return found


def _may_run(pid: int | None) -> bool:
    """Whether there is such a process; True where that cannot be known."""
    if pid is None:
        return False
    return not os.path.exists(f"{_PROC}/self") or os.path.exists(f"{_PROC}/{pid}")


def _may_be_named() -> bool:
    """Whether a process may carry a session's id; True without a /proc to look in."""
    try:
        pids = [name for name in os.listdir(_PROC) if name.isdecimal()]
    except OSError:
        return True
    for pid in pids:
        try:
            if _VARIABLE_BYTES in files.read(f"{_PROC}/{pid}/environ", _ENVIRONMENT_BYTES):
                return True
        except OSError:
            continue  # gone, or another user's
    return not pids


def _environment(process: psutil.Process) -> str | None:
    import psutil  # noqa: PLC0415 - it is there by now

    try:
        return process.environ().get(SESSION_VARIABLE)
    except (psutil.Error, OSError):
        return None  # gone, or another user's


def _is_main(process: psutil.Process) -> bool:
    # `claude` itself, or an interpreter that runs it.
    words = [process.name(), *process.cmdline()[:2]]
    return any(_MAIN_PROGRAM in os.path.basename(word) for word in words)


def _owner(
    process: psutil.Process, processes: Mapping[int, psutil.Process], owners: Mapping[int, str]
) -> str | None:
    seen = set()
    pid = process.pid
    while pid not in seen:
        if pid in owners:
            return owners[pid]
        seen.add(pid)
        if pid not in processes:
            break
        pid = processes[pid].info["ppid"] or 0
    return None


def _small_recorders(store: SmallStore, since_ns: int) -> list[tuple[str, str, int]]:
    latest: dict[tuple[str, str], int] = {}
    for row in small_answers.distinct(store.rows):
        if (
            row.end_ns >= since_ns
            and row.session_id is not None
            and row.resource
            and row.family != spool.HISTORY
            and row.service != semconv.CLAUDE_CODE_SERVICE
        ):
            key = row.session_id, row.resource
            latest[key] = max(row.end_ns, latest.get(key, 0))
    return [(*key, end_ns) for key, end_ns in latest.items()]


def _pid(resource: object) -> int | None:
    """The process id, of one that ran on this machine; None where it is malformed."""
    values: dict[str, Any] = {}
    for pair in resource if isinstance(resource, list) else ():
        value = pair.get("value") if isinstance(pair, dict) else None
        if isinstance(value, dict) and isinstance(pair.get("key"), str):
            values[pair["key"]] = next(iter(value.values()), None)
    if values.get(semconv.HOST_NAME) != os.uname().nodename:
        return None
    try:
        return int(values[semconv.PROCESS_PID])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
