"""Each kind of fact into what is known of its session, in any order and any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import facts, ids
from orchwatch.agents.claude_code.sessions.entities import (
    HOOK,
    REMEMBER_NS,
    Agent,
    Call,
    Session,
    Task,
    Tool,
    Turn,
    turn_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.agents.claude_code.sessions.facts import Fact

    _AboutTool = facts.ToolStarted | facts.ToolEnded | facts.ToolCut | facts.PermissionAsked

_COMPACT_STARTS = 16
_MAX_CALLS = 2000
_MAX_NOTICES = 1000
_MAX_ASKS = 100


def merge(session: Session, fact: Fact, written: Callable[[str], bool]) -> None:
    """Adds what a fact tells.

    Args:
        session: What it is about.
        fact: The fact.
        written: Whether a span, by its id, went out before this session was looked at.
    """
    if isinstance(fact, facts.ApiUsage):
        _api_usage(session, fact, written)
    elif not _is_repeated(session, fact):
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


def _turn(session: Session, fact: Fact) -> Turn | None:
    """The turn in which a fact lies; None where its span is out."""
    prompt_id = fact.agent_turn if fact.agent_id else fact.prompt_id
    if prompt_id is None:
        return None
    key = turn_key(prompt_id, fact.agent_id)
    if key in session.closed:
        return None
    turn = session.turns.get(key)
    if turn is None:
        turn = Turn(prompt_id=prompt_id, agent_id=fact.agent_id)
        session.turns[key] = turn
    return turn


def _life(session: Session, fact: Fact) -> Turn | None:
    """The turn in which a fact lies, which it keeps alive; likewise its sub-agent."""
    if fact.passive:
        return None
    filed = fact.source == "file"
    if fact.agent_id:
        _agent(session, fact).see(fact.time_ns, filed=filed)
    turn = _turn(session, fact)
    if turn:
        turn.see(fact.time_ns, filed=filed)
    return turn


def _agent(session: Session, fact: Fact) -> Agent:
    assert fact.agent_id
    agent = session.agents.get(fact.agent_id)
    if agent is None:
        agent = session.agents[fact.agent_id] = Agent(agent_id=fact.agent_id)
    if fact.source == "file":
        agent.prompt_id = agent.prompt_id or fact.prompt_id
    else:
        agent.hinted = agent.hinted or fact.prompt_id
    part = session.agents.get(session.parts.get(turn_key("", fact.agent_id), ""))
    return part or agent


def _owners(session: Session, fact: Fact, turn: Turn | None) -> list[Turn | Agent]:
    owners: list[Turn | Agent] = [turn] if turn else []
    if fact.agent_id:
        owners.append(_agent(session, fact))
    return owners


def _session_started(session: Session, fact: facts.SessionStarted) -> None:
    if fact.source == "file":
        session.start_ns = min(session.start_ns or fact.time_ns, fact.time_ns)
    else:
        session.process_ns = min(session.process_ns or fact.time_ns, fact.time_ns)


def _session_ready(session: Session, fact: facts.SessionReady) -> None:
    if fact.source == "file":
        session.ready_ns = min(session.ready_ns or fact.time_ns, fact.time_ns)
    else:
        session.handled_ns = min(session.handled_ns or fact.time_ns, fact.time_ns)


def _session_ended(session: Session, fact: facts.SessionEnded) -> None:
    session.ended_ns = max(session.ended_ns, fact.time_ns)


def _prompt_submitted(session: Session, fact: facts.PromptSubmitted) -> None:
    if fact.agent_id:
        _agent(session, fact).see(fact.time_ns, filed=fact.source == "file")
    turn = _turn(session, fact)
    if turn:
        turn.ask(fact.record_id or HOOK, fact.time_ns)
        turn.derived = turn.derived or fact.derived
        turn.previous = turn.previous or fact.previous


def _prompt_copied(session: Session, fact: facts.PromptCopied) -> None:
    turn = _turn(session, fact)
    if turn:
        turn.copy(fact.record_id)


def _turn_over(session: Session, fact: facts.TurnOver) -> None:
    session.pauses.setdefault(str(fact.prompt_id), fact.paused_ns)
    turn = _turn(session, fact)
    if turn:
        turn.over, turn.over_reason = True, fact.reason


def _process_ended(session: Session, fact: facts.ProcessEnded) -> None:
    session.exited_ns = max(session.exited_ns, fact.time_ns)


def _client_lost(session: Session, _fact: facts.ClientLost) -> None:
    session.lost_ns = session.last_ns


def _turn_ended(session: Session, fact: facts.TurnEnded) -> None:
    if fact.passive:
        return
    filed = fact.source == "file"
    if filed and not (fact.agent_id or fact.error_type or fact.reason):
        session.tells_ends = True
    # What tells the end is no part of what has ended, unless nothing else is known of it.
    turn = _turn(session, fact)
    if turn and not turn.last_ns:
        turn.see(fact.time_ns, filed=filed)
    for owner in _owners(session, fact, turn):
        owner.end(fact.time_ns, fact.error_type, fact.reason, filed=filed)


def _activity(session: Session, fact: facts.Activity) -> None:
    if fact.passive:
        return
    for owner in _owners(session, fact, _life(session, fact)):
        owner.finish(fact.time_ns, fact.last)


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


def _tool_started(session: Session, fact: facts.ToolStarted) -> None:
    _life(session, fact)
    call = _call(session, fact)
    tool = _tool(session, fact)
    if tool:
        if tool.cut_ns:
            call.cut_ns, call.cut_reason = tool.cut_ns, tool.cut_reason
        tool.start_ns = min(tool.start_ns or fact.time_ns, fact.time_ns)
        tool.input_digest = tool.input_digest or fact.input_digest


def _tool_cut(session: Session, fact: facts.ToolCut) -> None:
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
    """Those that nobody can ask for any more: old ones that started nothing."""
    for key, call in list(session.calls.items())[: _MAX_CALLS // 2]:
        if not call.agent and not call.agent_type:
            del session.calls[key]


def _tool_ended(session: Session, fact: facts.ToolEnded) -> None:
    _life(session, fact)
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
        tool.end_ns = min(tool.end_ns or fact.time_ns, fact.time_ns)
        tool.error_type = tool.error_type or fact.error_type or ""
        if fact.outcome and (fact.source == "file" or not tool.outcome):
            tool.outcome = fact.outcome
        tool.by_person = tool.by_person or fact.by_person
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
    if not fact.tool_use_id:
        ask = [fact.time_ns, fact.agent_id, fact.tool_name, fact.input_digest]
        session.asks = sorted([*session.asks, ask], key=lambda one: int(one[0]))[-_MAX_ASKS:]
        return
    tool = _tool(session, fact)
    if tool:
        tool.asked_ns = min(tool.asked_ns or fact.time_ns, fact.time_ns)


def _input_asked(session: Session, fact: facts.InputAsked) -> None:
    _life(session, fact)
    told = session.inputs.setdefault(fact.input_id, [0, 0, fact.prompt_id, fact.agent_id])
    told[fact.answered] = told[fact.answered] or fact.time_ns


def _agent_started(session: Session, fact: facts.AgentStarted) -> None:
    _life(session, fact)
    agent = _agent(session, fact)
    agent.agent_type = agent.agent_type or fact.agent_type
    agent.task_digest = agent.task_digest or fact.task_digest
    if fact.passive:
        agent.glimpsed_ns = min(agent.glimpsed_ns or fact.time_ns, fact.time_ns)
    agent.run = agent.run or fact.run
    if fact.tool_use_id:
        _link(session, agent.agent_id, fact.tool_use_id)
    elif agent.run:
        agent.call = agent.call or session.runs.get(agent.run, "")


def _agent_ended(session: Session, fact: facts.AgentEnded) -> None:
    if fact.noticed:
        told = session.notices.setdefault(str(fact.agent_id), [])
        if [fact.time_ns, fact.error_type] not in told:
            told.append([fact.time_ns, fact.error_type])
            told.sort(key=lambda notice: int(notice[0]))
        while len(session.notices) > _MAX_NOTICES:
            del session.notices[next(iter(session.notices))]
        return
    agent = _agent(session, fact)
    filed = fact.source == "file"
    agent.see(fact.time_ns, filed=filed)
    agent.stopped_ns = max(agent.stopped_ns, fact.time_ns)
    agent.end(fact.time_ns, fact.error_type, None, filed=filed)


def _agent_worked(session: Session, fact: facts.AgentWorked) -> None:
    agent = _agent(session, fact)
    agent.worked_ns = min(agent.worked_ns or fact.time_ns, fact.time_ns)


def _moment(session: Session, fact: Fact) -> None:
    if not isinstance(fact, facts.HookRan):
        _life(session, fact)
    session.moments.append(fact)


def _api_usage(session: Session, fact: facts.ApiUsage, written: Callable[[str], bool]) -> None:
    """What an answer used: to its turn, or where that one's span is out to a part of its own."""
    if fact.agent_id:
        _usage_of_agent(session, fact, written)
        return
    prompt_id = fact.prompt_id
    if prompt_id is None:
        return
    key = turn_key(prompt_id, None)
    span_id = ids.turn(session.session_id, prompt_id)
    begun = session.turns.get(session.parts.get(key, ""))
    if begun and fact.message_id in begun.usage.recent:  # another line of it
        begun.usage.add(fact)
        return
    if _goes_on(fact, span_id, written, done=key in session.closed):
        part = session.parts.setdefault(key, f"{prompt_id}+{fact.message_id}")
        if part in session.closed:
            return
        turn = session.turns.get(part)
        if turn is None:
            turn = session.turns[part] = Turn(prompt_id=part, part_of=prompt_id)
        turn.see(fact.time_ns, filed=True)
        turn.finish(fact.time_ns, 2)
        turn.usage.add(fact)
        return
    found = _turn(session, fact) if fact.passive else _life(session, fact)
    if found:
        found.usage.add(fact)


def _usage_of_agent(session: Session, fact: facts.ApiUsage, written: Callable[[str], bool]) -> None:
    agent = _agent(session, fact)
    run = ids.agent_run(session.session_id, agent.agent_id)
    if not agent.part and _goes_on(fact, run, written, done=agent.done):
        part = f"{agent.agent_id}+{fact.message_id}"
        session.parts[turn_key("", agent.agent_id)] = part
        session.agents[part] = Agent(
            agent_id=agent.agent_id,
            agent_type=agent.agent_type,
            call=agent.call,
            prompt_id=agent.prompt_id,
            part=part,
            spawned=True,
        )
        agent = session.agents[part]
        agent.see(fact.time_ns, filed=True)
    elif agent.part and not fact.fresh and fact.message_id not in agent.usage.recent:
        return  # counted with the part before
    agent.usage.add(fact)


def _goes_on(
    fact: facts.ApiUsage, span_id: str, written: Callable[[str], bool], *, done: bool
) -> bool:
    """Whether it came after the span of what it belongs to went out."""
    return fact.fresh and (done or written(span_id))


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
    facts.PromptCopied: _prompt_copied,
    facts.TurnEnded: _turn_ended,
    facts.TurnOver: _turn_over,
    facts.ProcessEnded: _process_ended,
    facts.ClientLost: _client_lost,
    facts.Activity: _activity,
    facts.ToolStarted: _tool_started,
    facts.ToolEnded: _tool_ended,
    facts.ToolCut: _tool_cut,
    facts.PermissionAsked: _permission_asked,
    facts.InputAsked: _input_asked,
    facts.AgentStarted: _agent_started,
    facts.AgentWorked: _agent_worked,
    facts.AgentEnded: _agent_ended,
    facts.HookRan: _moment,
    facts.ApiFailed: _moment,
    facts.ModelAnswered: _moment,
    facts.SessionCost: _moment,
    facts.CompactStarted: _compact_started,
    facts.Compacted: _moment,
    facts.TaskChanged: _task_changed,
}
