"""Merges each kind of fact into its session, in any order and any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions import facts, owners, tool_reducer, usage_reducer
from orchwatch.agents.sessions.entities import (
    HOOK,
    REMEMBER_NS,
    Session,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.facts import Fact

_MAX_COMPACT_STARTS = 16


def reduce(session: Session, fact: Fact, claims: Claims) -> None:
    """Merges a fact into its session.

    Args:
        session: What it is about.
        fact: The fact.
        claims: Which spans went out before this session was looked at, and what came later.
    """
    if isinstance(fact, facts.ApiUsage):
        usage_reducer.add(session, fact, claims)
    elif not _is_repeated(session, fact):
        _REDUCERS[type(fact)](session, fact)


def _is_repeated(session: Session, fact: Fact) -> bool:
    """Whether its span was written long ago: a file may hold a copy of it.

    Younger facts are recognised by the ids of the spans that were written.
    """
    if session.last_ns - fact.time_ns < REMEMBER_NS:
        return False
    if fact.agent_id:
        agent = session.agents.get(fact.agent_id)
        return agent is not None and agent.done and fact.time_ns <= agent.last_ns
    closed = session.closed.get(fact.prompt_id or "")
    return closed is not None and fact.time_ns <= closed[1]


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


def _project_seen(session: Session, fact: facts.ProjectSeen) -> None:
    session.project = session.project or fact.project
    session.began_ns = min(session.began_ns or fact.time_ns, fact.time_ns)


def _provider_seen(session: Session, fact: facts.ProviderSeen) -> None:
    session.provider = session.provider or fact.provider


def _session_ended(session: Session, fact: facts.SessionEnded) -> None:
    session.ended_ns = max(session.ended_ns, fact.time_ns)


def _prompt_submitted(session: Session, fact: facts.PromptSubmitted) -> None:
    if fact.agent_id:
        owners.agent_of(session, fact).see(fact.time_ns, filed=fact.source == "file")
    turn = owners.turn_of(session, fact)
    if turn:
        turn.ask(fact.record_id or HOOK, fact.time_ns)
        turn.derived = turn.derived or fact.derived
        turn.previous = turn.previous or fact.previous


def _prompt_copied(session: Session, fact: facts.PromptCopied) -> None:
    turn = owners.turn_of(session, fact)
    if turn:
        turn.copy(fact.record_id)


def _turn_over(session: Session, fact: facts.TurnOver) -> None:
    session.pauses.setdefault(str(fact.prompt_id), fact.paused_ns)
    turn = owners.turn_of(session, fact)
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
        session.writes_ends = True
    # The report of an end is no part of what ended, unless nothing else is known of it.
    turn = owners.turn_of(session, fact)
    if turn:
        turn.first_ns = fact.first_ns if turn.first_ns is None else turn.first_ns
    if turn and not turn.last_ns:
        turn.see(fact.time_ns, filed=filed)
    for owner in owners.owners_of(session, fact, turn):
        owner.end(fact.time_ns, fact.error_type, fact.reason, filed=filed)


def _activity(session: Session, fact: facts.Activity) -> None:
    if fact.passive:
        return
    for owner in owners.owners_of(session, fact, owners.keep_alive(session, fact)):
        owner.finish(fact.time_ns, fact.last)


def _event(session: Session, fact: Fact) -> None:
    if not isinstance(fact, facts.HookRan):
        owners.keep_alive(session, fact)
    session.events.append(fact)


def _model_answered(session: Session, fact: facts.ModelAnswered) -> None:
    """Names the model of a sub-agent too, where its own file does not."""
    _event(session, fact)
    if fact.agent_id:
        usage = owners.agent_of(session, fact).usage
        usage.model = usage.model or fact.model


def _compact_started(session: Session, fact: facts.CompactStarted) -> None:
    starts = {*session.compact_starts, fact.time_ns}
    session.compact_starts = sorted(starts)[-_MAX_COMPACT_STARTS:]


def _task_changed(session: Session, fact: facts.TaskChanged) -> None:
    task = session.tasks.setdefault(fact.task_id, Task())
    task.prompt_id = task.prompt_id or fact.prompt_id
    if fact.completed:
        task.completed_ns = task.completed_ns or fact.time_ns
    else:
        task.created_ns = task.created_ns or fact.time_ns


_REDUCERS: dict[type, Callable[[Session, Any], None]] = {
    facts.SessionStarted: _session_started,
    facts.SessionReady: _session_ready,
    facts.ProjectSeen: _project_seen,
    facts.ProviderSeen: _provider_seen,
    facts.SessionEnded: _session_ended,
    facts.PromptSubmitted: _prompt_submitted,
    facts.PromptCopied: _prompt_copied,
    facts.TurnEnded: _turn_ended,
    facts.TurnOver: _turn_over,
    facts.ProcessEnded: _process_ended,
    facts.ClientLost: _client_lost,
    facts.Activity: _activity,
    facts.ToolStarted: tool_reducer.tool_started,
    facts.ToolEnded: tool_reducer.tool_ended,
    facts.ToolCut: tool_reducer.tool_cut,
    facts.PermissionAsked: tool_reducer.permission_asked,
    facts.InputAsked: tool_reducer.input_asked,
    facts.AgentStarted: tool_reducer.agent_started,
    facts.AgentWorked: tool_reducer.agent_worked,
    facts.AgentEnded: tool_reducer.agent_ended,
    facts.HookRan: _event,
    facts.ApiFailed: _event,
    facts.ModelAnswered: _model_answered,
    facts.SessionCost: _event,
    facts.CommandRan: _event,
    facts.CompactStarted: _compact_started,
    facts.Compacted: _event,
    facts.TaskChanged: _task_changed,
}
