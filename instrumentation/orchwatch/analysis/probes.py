"""What sessions take: the memory of their process trees.

A session's processes are found in two ways. Those that Claude Code starts carry its session's id in
their environment; the process that started them is the session's main process, where its command
line says `claude`. And every span names the process that recorded it, so whatever recorded one of a
session's spans belongs to it as long as it runs, except the monitor, which records the spans of the
sessions that it follows.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.recording import files, spool
from orchwatch.store import small_answers
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


class Sessions:
    """Memory of the sessions that run. Keep it: it remembers which process is whose."""

    def __init__(self) -> None:
        self._roots: dict[psutil.Process, str] = {}

    def memory_bytes(self, recorders: Mapping[str, Iterable[psutil.Process]]) -> dict[str, int]:
        """Resident memory of each running session's process tree, by session id.

        A process counts once, for the session that it belongs to most closely; memory that
        processes share counts for each of them, as RSS does.

        Args:
            recorders: Processes known to belong to a session, see `recorders`.
        """
        known_roots = self._roots or any(recorders.values())
        if not known_roots and not _may_be_named():
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
        found: dict[str, int] = {}
        for process in processes.values():
            owner = _owner(process, processes, owners)
            if owner is not None:
                with suppress(psutil.Error):
                    found[owner] = found.get(owner, 0) + process.memory_info().rss
        # What has no memory has ended and waits to be collected.
        return {owner: memory_bytes for owner, memory_bytes in found.items() if memory_bytes}

    def _adopt_parent(
        self, process: psutil.Process, session_id: str, owners: dict[int, str]
    ) -> None:
        import psutil  # noqa: PLC0415 - it is there by now

        with suppress(psutil.Error):
            parent = process.parent()
            if parent is not None and parent.pid not in owners and _is_main(parent):
                self._roots[parent] = owners[parent.pid] = session_id


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
