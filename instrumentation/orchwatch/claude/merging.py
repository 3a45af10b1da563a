"""Each kind of fact into what is known of its session, in any order and any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.claude import facts, ids
from orchwatch.claude.entities import REMEMBER_NS, Agent, Call, Session, Task, Tool, Turn, turn_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.claude.facts import Fact

    _AboutTool = facts.ToolStarted | facts.ToolEnded | facts.PermissionAsked

_COMPACT_STARTS = 16


def merge(session: Session, fact: Fact) -> None:
    """Adds what a fact tells."""
    if not _is_repeated(session, fact):
        _MERGERS[type(fact)](session, fact)


def _is_repeated(session: Session, fact: Fact) -> bool:
    """Whether it is from a part of the past that is out already: a file may hold a copy of it.

    What is younger is recognised by the spans that went out.
    """
    if session.last_ns - fact.time_ns < REMEMBER_NS:
        return False
    if fact.agent_id:
        agent = session.agents.get(fact.agent_id)
        return agent is not None and agent.done and fact.time_ns <= agent.last_ns
    closed = session.closed.get(fact.prompt_id or "")
    return closed is not None and fact.time_ns <= closed[1]


def _life(session: Session, fact: Fact) -> Turn | None:
    """The turn in which a fact lies, which it keeps alive; likewise its sub-agent."""
    if fact.agent_id:
        _agent(session, fact).see(fact.time_ns)
        prompt_id = fact.agent_turn
    else:
        prompt_id = fact.prompt_id
    if prompt_id is None:
        return None
    key = turn_key(prompt_id, fact.agent_id)
    if key in session.closed:
        return None
    turn = session.turns.get(key)
    if turn is None:
        turn = Turn(prompt_id=prompt_id, agent_id=fact.agent_id)
        session.turns[key] = turn
    turn.see(fact.time_ns)
    return turn


def _agent(session: Session, fact: Fact) -> Agent:
    assert fact.agent_id
    agent = session.agents.get(fact.agent_id)
    if agent is None:
        agent = session.agents[fact.agent_id] = Agent(agent_id=fact.agent_id)
    agent.prompt_id = agent.prompt_id or fact.prompt_id
    return agent


def _owners(session: Session, fact: Fact) -> list[Turn | Agent]:
    turn = _life(session, fact)
    owners: list[Turn | Agent] = [turn] if turn else []
    if fact.agent_id:
        owners.append(_agent(session, fact))
    return owners


def _session_started(session: Session, fact: facts.SessionStarted) -> None:
    session.start_ns = min(session.start_ns or fact.time_ns, fact.time_ns)


def _session_ready(session: Session, fact: facts.SessionReady) -> None:
    session.ready_ns = min(session.ready_ns or fact.time_ns, fact.time_ns)


def _session_ended(session: Session, fact: facts.SessionEnded) -> None:
    session.ended_ns = max(session.ended_ns, fact.time_ns)


def _prompt_submitted(session: Session, fact: facts.PromptSubmitted) -> None:
    turn = _life(session, fact)
    if turn:
        turn.prompted = True
        turn.derived = turn.derived or fact.derived


def _turn_ended(session: Session, fact: facts.TurnEnded) -> None:
    for owner in _owners(session, fact):
        owner.end(fact.time_ns, fact.error_type, fact.reason)


def _activity(session: Session, fact: facts.Activity) -> None:
    for owner in _owners(session, fact):
        owner.finish(fact.time_ns, fact.last)


def _tool(session: Session, fact: _AboutTool) -> Tool | None:
    if not fact.tool_use_id or ids.tool(session.session_id, fact.tool_use_id) in session.emitted:
        return None
    tool = session.tools.get(fact.tool_use_id)
    if tool is None:
        tool = session.tools[fact.tool_use_id] = Tool(tool_use_id=fact.tool_use_id)
    tool.name = tool.name or fact.tool_name
    tool.prompt_id = tool.prompt_id or fact.prompt_id
    tool.agent_id = tool.agent_id or fact.agent_id
    tool.agent_turn = tool.agent_turn or fact.agent_turn
    tool.seen_ns = max(tool.seen_ns, fact.time_ns)
    return tool


def _tool_started(session: Session, fact: facts.ToolStarted) -> None:
    _life(session, fact)
    if fact.agent_type:
        _call(session, fact)
    tool = _tool(session, fact)
    if tool:
        tool.start_ns = min(tool.start_ns or fact.time_ns, fact.time_ns)


def _call(session: Session, fact: facts.ToolStarted) -> None:
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


def _tool_ended(session: Session, fact: facts.ToolEnded) -> None:
    _life(session, fact)
    if fact.agent:
        _link(session, fact.agent, fact.tool_use_id)
        agent = session.agents[fact.agent]
        if not fact.background:
            agent.stopped_ns = max(agent.stopped_ns, fact.time_ns)
            agent.end(fact.time_ns, fact.error_type, None)
    tool = _tool(session, fact)
    if tool:
        tool.end_ns = min(tool.end_ns or fact.time_ns, fact.time_ns)
        if fact.error_type:
            # Told twice, the more telling one: "tool_error" is all that a file says.
            tool.error_type = min(tool.error_type or fact.error_type, fact.error_type)
        if tool.duration_ns is None:
            tool.duration_ns = fact.duration_ns


def _link(session: Session, agent_id: str, tool_use_id: str) -> None:
    agent = session.agents.get(agent_id)
    if agent is None:
        agent = session.agents[agent_id] = Agent(agent_id=agent_id)
    agent.call = agent.call or tool_use_id
    call = session.calls.get(agent.call)
    if call:
        call.agent = agent_id


def _permission_asked(session: Session, fact: facts.PermissionAsked) -> None:
    _life(session, fact)
    tool = _tool(session, fact)
    if tool:
        tool.asked = True


def _agent_started(session: Session, fact: facts.AgentStarted) -> None:
    _life(session, fact)
    agent = _agent(session, fact)
    agent.agent_type = agent.agent_type or fact.agent_type
    agent.task_digest = agent.task_digest or fact.task_digest
    if fact.tool_use_id:
        _link(session, agent.agent_id, fact.tool_use_id)


def _agent_ended(session: Session, fact: facts.AgentEnded) -> None:
    agent = _agent(session, fact)
    agent.see(fact.time_ns)
    agent.stopped_ns = max(agent.stopped_ns, fact.time_ns)
    agent.end(fact.time_ns, fact.error_type, None)


def _moment(session: Session, fact: Fact) -> None:
    if not isinstance(fact, facts.HookRan):
        _life(session, fact)
    session.moments.append(fact)


def _api_usage(session: Session, fact: facts.ApiUsage) -> None:
    for owner in [_agent(session, fact)] if fact.agent_id else _owners(session, fact):
        owner.usage.add(fact)


def _compact_started(session: Session, fact: facts.CompactStarted) -> None:
    starts = {*session.compact_starts, fact.time_ns}
    session.compact_starts = sorted(starts)[-_COMPACT_STARTS:]


def _task_changed(session: Session, fact: facts.TaskChanged) -> None:
    task = session.tasks.setdefault(fact.task_id, Task())
    task.prompt_id = task.prompt_id or fact.prompt_id
    if fact.completed:
        task.completed_ns = task.completed_ns or fact.time_ns
    else:
        task.created_ns = task.created_ns or fact.time_ns


_MERGERS: dict[type, Callable[[Session, Any], None]] = {
    facts.SessionStarted: _session_started,
    facts.SessionReady: _session_ready,
    facts.SessionEnded: _session_ended,
    facts.PromptSubmitted: _prompt_submitted,
    facts.TurnEnded: _turn_ended,
    facts.Activity: _activity,
    facts.ToolStarted: _tool_started,
    facts.ToolEnded: _tool_ended,
    facts.PermissionAsked: _permission_asked,
    facts.AgentStarted: _agent_started,
    facts.AgentEnded: _agent_ended,
    facts.HookRan: _moment,
    facts.ApiFailed: _moment,
    facts.ApiUsage: _api_usage,
    facts.CompactStarted: _compact_started,
    facts.Compacted: _moment,
    facts.TaskChanged: _task_changed,
}
