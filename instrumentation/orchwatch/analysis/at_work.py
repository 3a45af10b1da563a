"""Which agents are at work now, what each does, and which processes outlive their session.

Three sources know of them: programs note which operations they have open; the monitor knows what
goes on in Claude Code's sessions, and leaves it in its snapshot; and Claude Code notes which
process runs which session. Each may say nothing, and none is waited for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from orchwatch import semconv
from orchwatch.agents.claude_code.sessions import clients, session_files
from orchwatch.analysis import snapshot_file
from orchwatch.analysis.listing import MAIN_AGENT
from orchwatch.store import going_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from orchwatch.store.going_on import Open

Phase = Literal["model", "tool", "hook", "person", "agent", "work", "idle", "unknown"]
"""What an agent does: its model answers; a tool or a hook runs; it waits for a person, or for
another agent; something else of its own goes on; nothing does; or nobody knows."""

MAX_AGENTS = 40
"""At most so many are left in the monitor's snapshot: the latest."""

_PHASES: tuple[Phase, ...] = get_args(Phase)
_STALE_S = 30.0
_NS = 1_000_000_000
_OF_OPERATIONS: dict[str, Phase] = {
    semconv.TOOL_EXECUTE: "tool",
    semconv.HOOK_PROCESS: "hook",
    semconv.USER_WAIT: "person",
    semconv.AGENT_TURN: "model",
    semconv.AGENT_RUN: "model",
}


class Working(NamedTuple):
    """An agent that runs.

    Attributes:
        session_id: Its session; empty where it names none.
        agent: Its name, else its id; `main` for a session's own.
        phase: What it does.
        detail: Which tool, operation, or kind of waiting; may be empty.
        since_ns: Since when, in Unix nanoseconds; None where that is not known.
        pid: Its process, where it has one on this machine.
    """

    session_id: str
    agent: str
    phase: Phase
    detail: str = ""
    since_ns: int | None = None
    pid: int | None = None


class Seen(NamedTuple):
    """What was found.

    Attributes:
        agents: By session, its own agent first.
        gone: Sessions whose process has ended and left a note.
        monitor_s: How long the monitor has been running; None where it does not.
    """

    agents: tuple[Working, ...] = ()
    gone: frozenset[str] = frozenset()
    monitor_s: float | None = None


def look(home: Path) -> Seen:
    """Who is at work in a home; call `store.unfinished.close` before."""
    found: dict[tuple[str, str], Working] = {}
    projects = session_files.projects_directory()
    running, gone = _clients(projects)
    document, monitor_s = _monitor(home)
    # Of a session that nothing goes on in, the monitor says nothing.
    silent: Phase = "unknown" if monitor_s is None else "idle"
    for session_id, pid in running.items():
        found[session_id, MAIN_AGENT] = Working(session_id, MAIN_AGENT, silent, pid=pid)
    for one in _of_monitor(document):
        known = found.get((one.session_id, one.agent))
        found[one.session_id, one.agent] = one._replace(pid=known.pid if known else None)
    for one in of_operations(going_on.operations(home)):
        found[one.session_id, one.agent] = one
    agents = sorted(
        found.values(), key=lambda one: (one.session_id, one.agent != MAIN_AGENT, one.agent)
    )
    return Seen(tuple(agents), frozenset(gone - running.keys()), monitor_s)


def of_operations(open_ones: Sequence[Open]) -> list[Working]:
    """What agents do, by the operations that they have open: each by the one that began last."""
    latest: dict[tuple[str, str], Open] = {}
    for one in open_ones:
        if one.session_id or one.agent:
            latest[one.session_id or "", one.agent or MAIN_AGENT] = one
    callers = {
        one.parent_span_id: one.agent for one in open_ones if one.parent_span_id and one.agent
    }
    found = []
    for (session_id, agent), one in latest.items():
        phase: Phase = _OF_OPERATIONS.get(one.operation, "work")
        detail = one.tool or one.waits_for or one.operation
        called = callers.get(one.span_id)
        if called is not None and called != agent:
            phase, detail = "agent", called
        found.append(Working(session_id, agent, phase, detail, one.start_ns, one.pid))
    return found


def as_rows(agents: Iterable[Working]) -> list[list[Any]]:
    """As the monitor's snapshot has them, the latest first."""
    latest = sorted(agents, key=lambda one: -(one.since_ns or 0))
    return [list(one[:-1]) for one in latest[:MAX_AGENTS]]


def _of_monitor(document: Mapping[str, Any]) -> list[Working]:
    found = []
    for row in document.get("at_work") or ():
        try:
            session_id, agent, phase, detail, since_ns = row
            if phase in _PHASES:
                when = int(since_ns) if since_ns else None
                found.append(Working(str(session_id), str(agent), phase, str(detail), when))
        except (TypeError, ValueError):
            continue  # of another version, or damaged
    return found


def _monitor(home: Path) -> tuple[Mapping[str, Any], float | None]:
    """The monitor's snapshot, and how long that has been running, if it does."""
    document = snapshot_file.read(str(home)) or {}
    try:
        age_s = (time.time_ns() - document["written_at_ns"]) / _NS
        is_fresh = age_s <= _STALE_S + document["interval_s"]
        here = document["pid_namespace"] == snapshot_file.pid_namespace()
        pid = int(document["pid"])
    except (LookupError, TypeError, ValueError):
        return {}, None
    if not is_fresh or not here:
        return (document if is_fresh else {}), None
    import psutil  # noqa: PLC0415 - slow: only where a monitor runs

    try:
        return document, max(time.time() - psutil.Process(pid).create_time(), 0.0)
    except (psutil.Error, ValueError, OverflowError):
        return {}, None


def _clients(projects: str) -> tuple[dict[str, int], set[str]]:
    """By session the process that runs it; and those that a process ran which is no more."""
    domain = clients.pid_domain()
    running, gone = {}, set()
    for path in clients.file_paths(clients.directory(projects)):
        noted = clients.read(path, domain)
        if noted is None:
            continue
        client, session_id = noted
        if client.is_alive():
            running[session_id] = client.pid
        else:
            gone.add(session_id)
    return running, gone
