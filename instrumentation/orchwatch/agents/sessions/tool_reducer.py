"""Facts about tool calls and the sub-agents that they start, merged into a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.agents.sessions import facts, ids, owners
from orchwatch.agents.sessions.entities import Agent, Call, Session, Tool

if TYPE_CHECKING:
    _AboutTool = facts.ToolStarted | facts.ToolEnded | facts.ToolCut | facts.PermissionAsked

_MAX_CALLS = 2000
_MAX_NOTICES = 1000
_MAX_ASKS = 100


def _tool(session: Session, fact: _AboutTool) -> Tool | None:
    if not fact.tool_use_id or ids.tool(session.session_id, fact.tool_use_id) in session.emitted:
        return None
    tool = session.tools.get(fact.tool_use_id)
    if tool is None:
        tool = session.tools[fact.tool_use_id] = Tool(tool_use_id=fact.tool_use_id)
    if not isinstance(fact, facts.ToolCut):
        tool.name = tool.name or fact.tool_name
        tool.seen_ns = max(tool.seen_ns, fact.time_ns)
    tool.prompt_id = tool.prompt_id or fact.prompt_id
    tool.agent_id = tool.agent_id or fact.agent_id
    tool.agent_turn = tool.agent_turn or fact.agent_turn
    return tool


def tool_started(session: Session, fact: facts.ToolStarted) -> None:
    """The start of a tool call."""
    owners.keep_alive(session, fact)
    call = _call(session, fact)
    tool = _tool(session, fact)
    if tool:
        if tool.cut_ns:
            call.cut_ns, call.cut_reason = tool.cut_ns, tool.cut_reason
        tool.start_ns = min(tool.start_ns or fact.time_ns, fact.time_ns)
        tool.input_digest = tool.input_digest or fact.input_digest


def tool_cut(session: Session, fact: facts.ToolCut) -> None:
    """A call that will get no answer."""
    tool = _tool(session, fact)
    if tool and not tool.cut_ns:
        tool.cut_ns, tool.cut_reason = fact.time_ns, fact.reason
    call = session.calls.get(fact.tool_use_id)
    if call and not call.cut_ns:
        call.cut_ns, call.cut_reason = fact.time_ns, fact.reason


def _call(session: Session, fact: facts.ToolStarted) -> Call:
    call = session.calls.get(fact.tool_use_id)
    if call is None:
        call = Call(
            tool_use_id=fact.tool_use_id,
            agent_type=fact.agent_type,
            task_digest=fact.task_digest,
            start_ns=fact.time_ns,
            prompt_id=fact.prompt_id,
            agent_id=fact.agent_id,
        )
        session.calls[fact.tool_use_id] = call
        for agent in session.agents.values():  # one that was seen before its call
            if agent.call == fact.tool_use_id:
                call.agent = agent.agent_id
    call.start_ns = min(call.start_ns, fact.time_ns)
    call.prompt_id = call.prompt_id or fact.prompt_id
    call.agent_id = call.agent_id or fact.agent_id
    if len(session.calls) > _MAX_CALLS:
        _forget_calls(session)
    return call


def _forget_calls(session: Session) -> None:
    """Drops calls that are no longer looked up: old ones that started no sub-agent."""
    for key, call in list(session.calls.items())[: _MAX_CALLS // 2]:
        if not call.agent and not call.agent_type:
            del session.calls[key]


def tool_ended(session: Session, fact: facts.ToolEnded) -> None:
    """The answer to a tool call, which may also end the sub-agent that it started."""
    owners.keep_alive(session, fact)
    if fact.run:
        session.runs[fact.run] = fact.tool_use_id
        for agent in session.agents.values():
            if agent.run == fact.run:
                agent.call = agent.call or fact.tool_use_id
    if fact.agent:
        _link(session, fact.agent, fact.tool_use_id)
        call = session.calls.get(fact.tool_use_id)
        if call:
            call.background = fact.background
        agent = session.agents[fact.agent]
        if not fact.background:
            agent.stopped_ns = max(agent.stopped_ns, fact.time_ns)
            agent.end(fact.time_ns, fact.error_type, None, filed=fact.source == "file")
    tool = _tool(session, fact)
    if tool:
        _answered(tool, fact)


def _answered(tool: Tool, fact: facts.ToolEnded) -> None:
    tool.end_ns = min(tool.end_ns or fact.time_ns, fact.time_ns)
    tool.error_type = tool.error_type or fact.error_type or ""
    if fact.outcome and (fact.source == "file" or not tool.outcome):
        tool.outcome = fact.outcome
    tool.by_person = tool.by_person or fact.by_person
    if tool.duration_ns is None:
        tool.duration_ns = fact.duration_ns
    tool.began_ns = tool.began_ns or fact.began_ns
    if tool.exit_code is None:
        tool.exit_code = fact.exit_code


def _link(session: Session, agent_id: str, tool_use_id: str) -> None:
    agent = session.agents.get(agent_id)
    if agent is None:
        agent = session.agents[agent_id] = Agent(agent_id=agent_id)
    agent.call = agent.call or tool_use_id
    call = session.calls.get(agent.call)
    if call:
        call.agent = agent_id


def permission_asked(session: Session, fact: facts.PermissionAsked) -> None:
    """A request for a permission; the call that it is for may be found later."""
    owners.keep_alive(session, fact)
    if not fact.tool_use_id:
        ask = [fact.time_ns, fact.agent_id, fact.tool_name, fact.input_digest]
        session.asks = sorted([*session.asks, ask], key=lambda one: int(one[0]))[-_MAX_ASKS:]
        return
    tool = _tool(session, fact)
    if tool:
        tool.asked_ns = min(tool.asked_ns or fact.time_ns, fact.time_ns)


def input_asked(session: Session, fact: facts.InputAsked) -> None:
    """A request for input, or its answer."""
    owners.keep_alive(session, fact)
    entry = session.inputs.setdefault(fact.input_id, [0, 0, fact.prompt_id, fact.agent_id])
    entry[fact.answered] = entry[fact.answered] or fact.time_ns


def agent_started(session: Session, fact: facts.AgentStarted) -> None:
    """The first sign of a sub-agent, and what is known of the call that started it."""
    owners.keep_alive(session, fact)
    agent = owners.agent_of(session, fact)
    agent.agent_type = agent.agent_type or fact.agent_type
    agent.task_digest = agent.task_digest or fact.task_digest
    if fact.passive:
        agent.glimpsed_ns = min(agent.glimpsed_ns or fact.time_ns, fact.time_ns)
    agent.run = agent.run or fact.run
    agent.helper = agent.helper or fact.helper
    if fact.tool_use_id:
        _link(session, agent.agent_id, fact.tool_use_id)
    elif agent.run:
        agent.call = agent.call or session.runs.get(agent.run, "")


def agent_ended(session: Session, fact: facts.AgentEnded) -> None:
    """The end of a sub-agent, as a hook or a notice to its session says."""
    if fact.noticed:
        notices = session.notices.setdefault(str(fact.agent_id), [])
        if [fact.time_ns, fact.error_type] not in notices:
            notices.append([fact.time_ns, fact.error_type])
            notices.sort(key=lambda notice: int(notice[0]))
        while len(session.notices) > _MAX_NOTICES:
            del session.notices[next(iter(session.notices))]
        return
    agent = owners.agent_of(session, fact)
    filed = fact.source == "file"
    agent.see(fact.time_ns, filed=filed)
    agent.stopped_ns = max(agent.stopped_ns, fact.time_ns)
    agent.end(fact.time_ns, fact.error_type, None, filed=filed)


def agent_worked(session: Session, fact: facts.AgentWorked) -> None:
    """The first request of a sub-agent to its model."""
    agent = owners.agent_of(session, fact)
    agent.worked_ns = min(agent.worked_ns or fact.time_ns, fact.time_ns)
