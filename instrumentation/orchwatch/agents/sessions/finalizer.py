"""Turns what is complete in a session, or never will be, into finished spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from orchwatch import semconv
from orchwatch.agents.sessions import ids, places, spans, waits
from orchwatch.agents.sessions.endings import SETTLE_NS, START_NS, End, Endings
from orchwatch.agents.sessions.entities import REMEMBER_NS
from orchwatch.agents.sessions.facts import (
    NO_START,
    SILENCE,
    CommandRan,
    Compacted,
    Fact,
    HookRan,
)
from orchwatch.agents.sessions.spans import Place, Span

if TYPE_CHECKING:
    from orchwatch.agents.sessions.entities import Agent, Session, Tool, Turn

_INIT_NS = 60_000_000_000  # in which a short session ends, and its file then says when it began
_MAX_REMEMBERED = 1000


def finalize(
    session: Session, now_ns: int, silence_ns: int, *, reading: bool = False
) -> list[Span]:
    """The spans that are complete or given up; the session forgets what they were made of."""
    finalizer = _Finalizer(session, now_ns, silence_ns, reading=reading)
    finalizer.start()
    finalizer.tools()
    finalizer.inputs()
    finalizer.events()
    finalizer.tasks()
    finalizer.agents()
    finalizer.turns()
    finalizer.remember()
    return finalizer.spans


class _Finalizer:
    """One pass over a session."""

    def __init__(self, session: Session, now_ns: int, silence_ns: int, *, reading: bool) -> None:
        self.spans: list[Span] = []
        self._session = session
        self._now_ns = now_ns
        self._endings = Endings(session, now_ns, silence_ns, reading=reading)

    def start(self) -> None:
        session = self._session
        if session.started or not session.init_ns:
            return
        start_ns, ready_ns = session.init_ns
        if session.start_ns or self._endings.past(ready_ns, _INIT_NS):
            session.started = True
            self._emit(spans.session_init(session.session_id, start_ns, ready_ns))

    def tools(self) -> None:
        waits.settle(self._session, self._now_ns)
        for tool in list(self._session.tools.values()):
            end_ns, reason = self._endings.of_tool(tool)
            if not end_ns or (waits.is_open(self._session, tool) and not self._endings.gives_up):
                continue
            if not tool.name:  # the answer to a call that was never seen
                if self._endings.gives_up:
                    del self._session.tools[tool.tool_use_id]
                continue
            place = places.inside(
                self._session, tool.prompt_id, tool.agent_id, tool.agent_turn
            ) or self._last_resort(tool.start_ns or end_ns, tool.agent_id, tool.agent_turn)
            if place is None:
                continue
            tool.start_ns = tool.began_ns or tool.start_ns or end_ns - (tool.duration_ns or 0)
            del self._session.tools[tool.tool_use_id]
            self._wait(place, tool, end_ns)
            self._emit(spans.tool(place, tool, end_ns, reason))

    def _wait(self, place: Place, tool: Tool, end_ns: int) -> None:
        """Emits a call's wait for the user as a span of its own; the call begins after it."""
        waited = waits.of_tool(tool, end_ns)
        if waited is None:
            return
        tool.start_ns = waited[1]
        if tool.prompt_id and not tool.agent_id:
            before_ns = self._session.waited.get(tool.prompt_id, 0)
            self._session.waited[tool.prompt_id] = before_ns + waited[1] - waited[0]
        call = self._session.calls.get(tool.tool_use_id)
        if call:
            call.start_ns = tool.start_ns
        asked_id = tool.tool_use_id
        self._emit(spans.user_wait(place, asked_id, waits.reason(tool), *waited, asked_id))

    def inputs(self) -> None:
        session = self._session
        for input_id, (asked_ns, given_ns, prompt_id, agent_id) in list(session.inputs.items()):
            if not (self._endings.gives_up or (asked_ns and given_ns)):
                continue
            del session.inputs[input_id]
            if not (asked_ns and given_ns):
                continue
            place = places.inside(session, prompt_id, agent_id) or places.outside(session)
            asked_id = f"{input_id}/{asked_ns}"
            self._emit(spans.user_wait(place, asked_id, semconv.WAIT_INPUT, asked_ns, given_ns))

    def events(self) -> None:
        session = self._session
        waiting, session.events = session.events, []
        for fact in waiting:
            if isinstance(fact, Compacted) and not self._endings.knows_start(fact):
                session.events.append(fact)
                continue
            place = places.inside(session, fact.prompt_id, fact.agent_id, fact.agent_turn)
            if place is None and fact.agent_id is None and fact.prompt_id is None:
                place = places.outside(session)
            place = place or self._last_resort(fact.time_ns, fact.agent_id, fact.agent_turn)
            if place is None:
                session.events.append(fact)
                continue
            if _is_of_call(fact):
                place = place._replace(parent=ids.tool(session.session_id, fact.tool_use_id))
            self._emit(spans.event(place, fact, session.compact_starts))

    def tasks(self) -> None:
        session = self._session
        for task_id, task in list(session.tasks.items()):
            end_ns, reason = task.completed_ns, "" if task.created_ns else NO_START
            if not end_ns and self._endings.gives_up:
                end_ns, reason = session.last_ns, self._endings.gives_up
            wait_ns = SETTLE_NS if task.created_ns else START_NS
            if not end_ns or not (self._endings.gives_up or self._endings.past(end_ns, wait_ns)):
                continue
            place = places.inside(session, task.prompt_id, None) or places.outside(session)
            del session.tasks[task_id]
            self._emit(spans.task(place, task_id, task, end_ns, reason))

    def agents(self) -> None:
        for agent in list(self._session.agents.values()):
            if agent.done:
                continue
            if self._endings.gives_up and not (
                agent.start_ns or agent.glimpsed_ns or agent.stopped_ns
            ):
                agent.done = agent.call not in self._session.calls
                if agent.done:  # only named, and never seen
                    continue
            end = self._endings.of_agent(agent)
            if not agent.call:
                self._adopt(agent, ended=end is not None)
            self._spawn(agent)
            # Its call's answer may be all that will name that call, and comes a little later.
            linked = agent.call in self._session.calls or places.is_helper(agent)
            late = self._endings.is_late(agent)
            if end is None or not (linked or late):
                continue
            place = places.of_agent(self._session, agent, last=late)
            if place is not None:
                self._finish_agent(agent, place, end)

    def turns(self) -> None:
        session = self._session
        for key, turn in list(session.turns.items()):
            if not turn.start_ns:
                if turn.copied:  # nothing but a copy
                    del session.turns[key]
                continue
            end = self._endings.of_turn(turn)
            if end is None:
                continue
            place = self._turn_place(turn)
            if place is None:
                continue
            del session.turns[key]
            session.closed[key] = [turn.start_ns, turn.last_ns]
            reason = end.reason or ("" if turn.prompted or turn.part_of else NO_START)
            self._emit(spans.turn(place, turn, end.time_ns, end.error_type, reason))

    def remember(self) -> None:
        session = self._session
        emitted = session.emitted
        if self._endings.gives_up == SILENCE:
            emitted.clear()  # no other source repeats it so late
        for span_id in list(emitted):
            if not self._endings.past(emitted[span_id], REMEMBER_NS):
                break
            del emitted[span_id]
        for kept in (session.closed, session.pauses, session.waited):
            while len(kept) > _MAX_REMEMBERED:
                del kept[next(iter(kept))]
        done = [agent for agent in session.agents.values() if agent.done]
        for agent in done[:-_MAX_REMEMBERED]:
            del session.agents[agent.part or agent.agent_id]
            session.calls.pop(agent.call, None)
            session.arrivals.pop(agent.agent_id, None)

    def _emit(self, span: Span) -> None:
        if span.span_id not in self._session.emitted:
            self._session.emitted[span.span_id] = self._now_ns
            self.spans.append(span)

    def _last_resort(
        self, time_ns: int, agent_id: str | None, agent_turn: str | None
    ) -> Place | None:
        """When nothing more can come: in its sub-agent, else in the turn of the time, or none."""
        session = self._session
        agent = session.agents.get(agent_id or "")
        if agent and self._endings.is_late(agent):
            place = places.inside(session, None, agent_id, agent_turn, last=True)
            if place:
                return place
        if not self._endings.gives_up:
            return None
        prompt_id = places.turn_at(session, time_ns)
        place = places.inside(session, prompt_id, None) or places.outside(session)
        return place._replace(agent_id=agent_id) if agent_id else place

    def _turn_place(self, turn: Turn) -> Place | None:
        session = self._session
        if turn.agent_id is None:
            if turn.part_of:
                return Place(
                    session.session_id, turn.part_of, ids.turn(session.session_id, turn.part_of)
                )
            return Place(session.session_id, turn.prompt_id, "")
        agent = session.agents.get(turn.agent_id)
        late = agent is None or self._endings.is_late(agent)
        return places.inside(session, None, turn.agent_id, last=late)

    def _adopt(self, agent: Agent, *, ended: bool) -> None:
        """Takes the only call that fits for the one that started a sub-agent."""
        if not (ended and self._endings.is_late(agent)):
            return
        call = places.likely_call(self._session, agent, guess=True)
        if call:
            agent.call, call.agent = call.tool_use_id, agent.agent_id

    def _spawn(self, agent: Agent) -> None:
        call = self._session.calls.get(agent.call)
        if agent.spawned or call is None or not agent.worked_ns:
            return
        tool = self._session.tools.get(agent.call)
        if tool and (tool.end_ns or tool.asked_ns):  # of which a person may have been asked first
            return
        place = places.of_agent(self._session, agent)
        if place is not None:
            agent.spawned = True
            self._emit(spans.agent_spawn(place, agent, call))

    def _finish_agent(self, agent: Agent, place: Place, end: End) -> None:
        agent.done = True
        call = self._session.calls.get(agent.call)
        agent.start_ns = (
            agent.start_ns or agent.glimpsed_ns or (call.start_ns if call else end.time_ns)
        )
        self._emit(spans.agent_run(place, agent, *end))
        if agent.part:
            return
        for key, turn in list(self._session.turns.items()):
            if turn.agent_id == agent.agent_id:
                del self._session.turns[key]
                if not turn.start_ns:  # nothing of it was seen but that it is over
                    continue
                self._session.closed[key] = [turn.start_ns, turn.last_ns]
                inner = place._replace(parent=ids.agent_run(place.session_id, agent.agent_id))
                self._emit(spans.turn(inner, turn, turn.last_ns, turn.error_type, end.reason))


def _is_of_call(fact: Fact) -> TypeGuard[HookRan | CommandRan]:
    """Whether it is a part of a tool call."""
    if isinstance(fact, HookRan):
        return bool(fact.tool_use_id) and fact.of_call
    return isinstance(fact, CommandRan) and bool(fact.tool_use_id)
