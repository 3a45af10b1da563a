"""When a person was waited for: for a permission before a tool runs, or by a tool that asks.

Hooks say when a permission was asked for, and how long the tool then ran by itself. A file alone
says that a person was asked, and in a terminal how long the turn took without the waits: they are
known once the turn has ended. Several of one turn share that time as they share the turn's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv

if TYPE_CHECKING:
    from orchwatch.agents.sessions.entities import Session, Tool

# Tools that do nothing but ask a person.
_ASKING = {"AskUserQuestion": semconv.WAIT_QUESTION, "ExitPlanMode": semconv.WAIT_PLAN}
_NOT_ASKED = (semconv.DENIED_BY_RULE, semconv.BLOCKED_BY_HOOK, semconv.CANCELLED)
_LEAST_NS = 100_000_000  # no person answers faster, and the turn's own time is no more precise
_SKEW_NS = 1_000_000_000
_LATE_NS = 5_000_000_000  # by which the call that asks may come later than its asking


def reason(tool: Tool) -> str:
    """What its wait is for."""
    return _ASKING.get(tool.name, semconv.WAIT_PERMISSION)


def settle(session: Session, now_ns: int) -> None:
    """Finds the calls that asked for a permission, and the waits within turns that have ended."""
    session.asks = [
        [at, *about]
        for at, *about in session.asks
        if not _assign(session, at, *about) and now_ns - at < _LATE_NS
    ]
    asking = {tool.prompt_id for tool in session.tools.values() if _has_share(tool)}
    for prompt_id in asking & session.pauses.keys():
        _share(session, str(prompt_id), session.pauses[str(prompt_id)])


def is_open(session: Session, tool: Tool) -> bool:
    """Whether a call's wait will be known once its turn has ended."""
    return not tool.waited and _has_share(tool) and tool.prompt_id not in session.pauses


def of_tool(tool: Tool, end_ns: int) -> tuple[int, int] | None:
    """From when to when a call waited, None where it did not or that is not known.

    Args:
        tool: The call.
        end_ns: Its end.
    """
    if tool.waited:
        return tool.waited[0], tool.waited[1]
    start_ns = max(tool.start_ns, tool.asked_ns)
    asking = tool.name in _ASKING and not tool.error_type and tool.outcome not in _NOT_ASKED
    if asking or (_was_asked(tool) and tool.outcome == semconv.DENIED_BY_USER):
        return start_ns, max(end_ns - (tool.duration_ns or 0), start_ns)
    if tool.asked_ns and tool.duration_ns is not None:
        return start_ns, max(end_ns - tool.duration_ns, start_ns)
    return None


def _was_asked(tool: Tool) -> bool:
    return tool.by_person or tool.asked_ns > 0


def _has_share(tool: Tool) -> bool:
    """Whether only the time of its turn shows how long a call has waited."""
    return (
        _was_asked(tool)
        and tool.prompt_id is not None
        and not tool.agent_id
        and not tool.outcome
        and (tool.by_person or tool.name not in _ASKING)
        and tool.duration_ns is None
        and tool.end_ns > 0
    )


def _assign(session: Session, at: int, agent_id: str | None, name: str, digest: int) -> bool:
    """The newest open call with that input, else with an unknown input, else any."""
    fitting = [
        tool
        for tool in session.tools.values()
        if tool.name == name
        and tool.agent_id == agent_id
        and not tool.asked_ns
        and 0 < tool.start_ns <= at + _SKEW_NS
        and not 0 < tool.end_ns < at
    ]
    if not fitting:
        return False
    tool = max(
        fitting,
        key=lambda tool: (tool.input_digest == digest, not tool.input_digest, tool.start_ns),
    )
    tool.asked_ns = at
    return True


def _share(session: Session, prompt_id: str, paused_ns: int) -> None:
    """Gives each call of a turn its part of the waits that nothing else explains."""
    tools = [
        tool
        for tool in session.tools.values()
        if tool.prompt_id == prompt_id and not tool.agent_id and not tool.waited
    ]
    sharing = [tool for tool in tools if _has_share(tool) and 0 < tool.start_ns < tool.end_ns]
    known = [of_tool(tool, tool.end_ns) for tool in tools if tool.end_ns and tool not in sharing]
    explained_ns = session.waited.get(prompt_id, 0) + sum(
        end - start for start, end in filter(None, known)
    )
    rest_ns = paused_ns - explained_ns
    whole_ns = sum(tool.end_ns - tool.start_ns for tool in sharing)
    if rest_ns < _LEAST_NS:
        return
    for tool in sharing:
        length_ns = tool.end_ns - tool.start_ns
        waited_ns = min(rest_ns * length_ns // whole_ns, length_ns)
        tool.waited = [tool.start_ns, tool.start_ns + waited_ns]
