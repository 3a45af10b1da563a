"""What of a session is complete by a moment, and what will never be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch import semconv
from orchwatch.agents.claude_code.sessions import ids, places, spans, waits
from orchwatch.agents.claude_code.sessions.entities import REMEMBER_NS
from orchwatch.agents.claude_code.sessions.facts import (
    KILLED,
    MICRO,
    NEXT_PROMPT,
    NO_END,
    NO_START,
    SESSION_ENDED,
    SILENCE,
    Compacted,
    HookRan,
)
from orchwatch.agents.claude_code.sessions.spans import Place, Span

if TYPE_CHECKING:
    from orchwatch.agents.claude_code.sessions.entities import Agent, Life, Session, Tool, Turn

_NS_PER_S = 1_000_000_000
_SETTLE_NS = _NS_PER_S // 2  # in which the other source tells the same
_END_NS = _NS_PER_S  # by which a sign of life may follow the end and still belong before it
_LAG_NS = 5 * _NS_PER_S // 4  # by which a file may lag behind another, or behind a hook
_GONE_NS = 2 * _NS_PER_S  # after the session's end
_INIT_NS = 60 * _NS_PER_S  # in which a short session ends, and its file then says when it began
_START_NS = 5 * _NS_PER_S  # that a start may come later than its end
_SAID_NS = _NS_PER_S  # after a message that says it is the last one
_TELLS_NS = 5 * _NS_PER_S  # the same where hooks may still object, and the file will tell
_QUIET_NS = 120 * _NS_PER_S  # after one that only looks so: a long tool call may be in the making
_LATE_NS = 60 * _NS_PER_S  # by which a file of the session may come later than the others
_LONG_NS = 600 * _NS_PER_S  # for a compaction
_REMEMBERED = 1000


def finished(
    session: Session, now_ns: int, silence_ns: int, *, reading: bool = False
) -> list[Span]:
    """The spans that are complete, or given up; what they were made of is let go."""
    closing = _Closing(session, now_ns, silence_ns, reading=reading)
    closing.start()
    closing.tools()
    closing.inputs()
    closing.moments()
    closing.tasks()
    closing.agents()
    closing.turns()
    closing.remember()
    return closing.spans


class _End(NamedTuple):
    """How something ended: when, and what was wrong."""

    time_ns: int
    error_type: str = ""
    reason: str = ""


class _Closing:
    """One pass over a session."""

    def __init__(self, session: Session, now_ns: int, silence_ns: int, *, reading: bool) -> None:
        self.spans: list[Span] = []
        self._session = session
        self._now_ns = now_ns
        self._reading = reading
        self._gives_up = ""
        if session.ended_ns and session.ended_ns >= session.last_ns - _END_NS:
            self._gives_up = SESSION_ENDED if self._quiet(session.last_ns, _GONE_NS) else ""
        elif session.lost_ns and session.lost_ns >= session.last_ns:
            said_so = session.exited_ns >= session.last_ns - _END_NS
            self._gives_up = SESSION_ENDED if said_so else KILLED
        elif self._quiet(session.last_ns, silence_ns):
            self._gives_up = SILENCE

    def start(self) -> None:
        session = self._session
        if session.started or not session.init_ns:
            return
        start_ns, ready_ns = session.init_ns
        if session.start_ns or self._past(ready_ns, _INIT_NS):
            session.started = True
            self._emit(spans.session_init(session.session_id, start_ns, ready_ns))

    def tools(self) -> None:
        waits.settle(self._session, self._now_ns)
        for tool in list(self._session.tools.values()):
            end_ns, reason = self._tool_end(tool)
            if not end_ns or (waits.is_open(self._session, tool) and not self._gives_up):
                continue
            if not tool.name:  # the answer to a call that nobody has seen
                if self._gives_up:
                    del self._session.tools[tool.tool_use_id]
                continue
            place = places.inside(
                self._session, tool.prompt_id, tool.agent_id, tool.agent_turn
            ) or self._last_resort(tool.start_ns or end_ns, tool.agent_id, tool.agent_turn)
            if place is None:
                continue
            tool.start_ns = tool.start_ns or end_ns - (tool.duration_ns or 0)
            del self._session.tools[tool.tool_use_id]
            self._wait(place, tool, end_ns)
            self._emit(spans.tool(place, tool, end_ns, reason))

    def _wait(self, place: Place, tool: Tool, end_ns: int) -> None:
        """The wait for a person stands beside the call, which begins when it is over."""
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
            if not (self._gives_up or (asked_ns and given_ns)):
                continue
            del session.inputs[input_id]
            if not (asked_ns and given_ns):
                continue
            place = places.inside(session, prompt_id, agent_id) or places.outside(session)
            asked_id = f"{input_id}/{asked_ns}"
            self._emit(spans.user_wait(place, asked_id, semconv.WAIT_INPUT, asked_ns, given_ns))

    def moments(self) -> None:
        session = self._session
        waiting, session.moments = session.moments, []
        for fact in waiting:
            if isinstance(fact, Compacted) and not self._knows_start(fact):
                session.moments.append(fact)
                continue
            place = places.inside(session, fact.prompt_id, fact.agent_id, fact.agent_turn)
            if place is None and fact.agent_id is None and fact.prompt_id is None:
                place = places.outside(session)
            place = place or self._last_resort(fact.time_ns, fact.agent_id, fact.agent_turn)
            if place is None:
                session.moments.append(fact)
                continue
            if isinstance(fact, HookRan) and fact.tool_use_id and fact.of_call:
                place = place._replace(parent=ids.tool(session.session_id, fact.tool_use_id))
            self._emit(spans.moment(place, fact, session.compact_starts))

    def _knows_start(self, fact: Compacted) -> bool:
        """Whether it is known when a compaction began, or nobody is left who could tell."""
        if self._gives_up or self._quiet(fact.time_ns, _LATE_NS):
            return True
        if fact.duration_ns is not None or fact.trigger == MICRO:
            return self._past(fact.time_ns, _SETTLE_NS)
        earlier = [at for at in self._session.compact_starts if at <= fact.time_ns]
        return bool(earlier) and fact.time_ns - max(earlier) < _LONG_NS

    def tasks(self) -> None:
        session = self._session
        for task_id, task in list(session.tasks.items()):
            end_ns, reason = task.completed_ns, "" if task.created_ns else NO_START
            if not end_ns and self._gives_up:
                end_ns, reason = session.last_ns, self._gives_up
            wait_ns = _SETTLE_NS if task.created_ns else _START_NS
            if not end_ns or not (self._gives_up or self._past(end_ns, wait_ns)):
                continue
            place = places.inside(session, task.prompt_id, None) or places.outside(session)
            del session.tasks[task_id]
            self._emit(spans.task(place, task_id, task, end_ns, reason))

    def agents(self) -> None:
        for agent in list(self._session.agents.values()):
            if agent.done:
                continue
            if self._gives_up and not (agent.start_ns or agent.glimpsed_ns or agent.stopped_ns):
                agent.done = agent.call not in self._session.calls
                if agent.done:  # only named, and never seen
                    continue
            end = self._agent_end(agent)
            if not agent.call:
                self._adopt(agent, ended=end is not None)
            self._spawn(agent)
            # Its call's answer may be all that will name that call, and comes a little later.
            linked = agent.call in self._session.calls or places.is_helper(agent.agent_id)
            late = self._is_late(agent)
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
            end = self._turn_end(turn)
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
        if self._gives_up == SILENCE:
            emitted.clear()  # no other source tells so late what one has told
        for span_id in list(emitted):
            if not self._past(emitted[span_id], REMEMBER_NS):
                break
            del emitted[span_id]
        for told in (session.closed, session.pauses, session.waited):
            while len(told) > _REMEMBERED:
                del told[next(iter(told))]
        done = [agent for agent in session.agents.values() if agent.done]
        for agent in done[:-_REMEMBERED]:
            del session.agents[agent.agent_id]
            session.calls.pop(agent.call, None)
            session.arrivals.pop(agent.agent_id, None)

    def _settled(self, time_ns: int) -> bool:
        """Whether another source would have told the same by now, or Claude Code is no more."""
        exited = self._session.exited_ns >= time_ns
        return bool(self._gives_up) or exited or self._past(time_ns, _SETTLE_NS)

    def _past(self, time_ns: int, wait_ns: int) -> bool:
        return self._now_ns - time_ns >= wait_ns

    def _quiet(self, time_ns: int, wait_ns: int, whose: str | None = None) -> bool:
        """Whether that long ago was the last that came, by its own time and by the clock.

        Args:
            time_ns: Its own time.
            wait_ns: How long.
            whose: Of a sub-agent, or empty of the session's own conversation; by default of all.
        """
        if self._reading:
            return False
        arrived_ns = self._session.arrived_ns
        if whose is not None:
            arrived_ns = self._session.arrivals.get(whose, arrived_ns)
        return self._past(max(time_ns, arrived_ns), wait_ns)

    def _is_late(self, agent: Agent) -> bool:
        """Whether what other files tell about a sub-agent would be there by now."""
        last_ns = max(agent.last_ns, agent.stopped_ns)
        return bool(self._gives_up) or self._quiet(last_ns, _LATE_NS)

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
        if agent and self._is_late(agent):
            place = places.inside(session, None, agent_id, agent_turn, last=True)
            if place:
                return place
        if not self._gives_up:
            return None
        prompt_id = places.turn_at(session, time_ns)
        place = places.inside(session, prompt_id, None) or places.outside(session)
        return place._replace(agent_id=agent_id) if agent_id else place

    def _tool_end(self, tool: Tool) -> tuple[int, str]:
        """When a tool call ended, 0 while it may go on; and why it is unfinished."""
        if tool.end_ns and tool.start_ns:
            return (tool.end_ns if self._settled(tool.end_ns) else 0), ""
        if tool.end_ns:
            late = self._gives_up or self._quiet(tool.end_ns, _START_NS)
            return (tool.end_ns if late else 0), NO_START
        if tool.cut_ns:
            end_ns = max(tool.cut_ns, tool.start_ns)
            return (end_ns if self._settled(tool.cut_ns) else 0), tool.cut_reason
        reason = self._gives_up
        agent = self._session.agents.get(tool.agent_id) if tool.agent_id else None
        if not reason and agent is not None and agent.done:
            reason = NO_END
        return (max(tool.start_ns, tool.seen_ns) if reason else 0), reason

    def _ended(self, life: Life, whose: str, said_ns: int) -> _End | None:
        """How something has ended by what it says itself; None while it may go on.

        Args:
            life: What it is about.
            whose: As in `_quiet`.
            said_ns: How long a message that says it is the last one is not believed.
        """
        told = _is_told(life)
        last_ns = max(life.last_ns, life.ended_ns, life.hooked_ns)
        if told:
            wait_ns = _END_NS if life.is_final else _LAG_NS
            if life.ended_ns >= life.last_ns:  # the file itself, after all hooks
                wait_ns = _SETTLE_NS
            if self._gives_up or self._quiet(last_ns, wait_ns, whose):
                return _End(life.end_ns, life.error_type, life.reason)
        wait_ns = said_ns if life.said_done else _QUIET_NS
        if not told and life.is_final and (self._gives_up or self._quiet(last_ns, wait_ns, whose)):
            return _End(life.last_ns)  # without the error of an end after which it went on
        return _End(life.last_ns, reason=self._gives_up) if self._gives_up else None

    def _turn_end(self, turn: Turn) -> _End | None:
        if turn.over:
            if not self._settled(turn.last_ns):
                return None
            if _is_told(turn):
                return _End(turn.end_ns, turn.error_type, turn.reason)
            return _End(turn.last_ns, reason=turn.over_reason)
        if turn.agent_id:
            agent = self._session.agents.get(turn.agent_id)
            done = agent is None or agent.done
            return _End(turn.last_ns) if done and self._quiet(turn.last_ns, _QUIET_NS) else None
        return self._ended(turn, "", _TELLS_NS if self._session.tells_ends else _SAID_NS)

    def _agent_end(self, agent: Agent) -> _End | None:
        """How a sub-agent ended, by its own word, its caller's or the host's."""
        if not agent.start_ns and not self._is_late(agent):
            return None  # its own file lags behind
        told = self._agent_told(agent)
        if told is None:
            return self._ended(agent, agent.agent_id, _TELLS_NS)
        sure = agent.said_done and agent.is_final
        if sure and self._session.exited_ns >= agent.last_ns:
            return told
        wait_ns = _SETTLE_NS if sure else _LAG_NS
        settled = self._quiet(max(told.time_ns, agent.last_ns), wait_ns, agent.agent_id)
        return told if self._gives_up or settled else None

    def _agent_told(self, agent: Agent) -> _End | None:
        session = self._session
        notice = next(
            (
                _End(int(at), error or "")
                for at, error in session.notices.get(agent.agent_id, [])
                if at >= agent.last_ns - _END_NS
            ),
            None,
        )
        own_ns = (agent.ended_ns or agent.hooked_ns) if _is_told(agent) else 0
        if notice:
            at = agent.last_ns if agent.is_final or own_ns else max(notice.time_ns, agent.last_ns)
            return _End(at, notice.error_type or (agent.error_type if own_ns else ""))
        if own_ns:
            end_ns = own_ns if agent.reason else agent.last_ns or agent.stopped_ns
            return _End(end_ns, agent.error_type, agent.reason)
        call = session.calls.get(agent.call) or places.likely_call(session, agent)
        if call and call.cut_ns and not call.background and call.cut_reason != NEXT_PROMPT:
            return _End(max(call.cut_ns, agent.last_ns), reason=call.cut_reason)
        if session.exited_ns >= agent.last_ns > 0:
            return _End(agent.last_ns, reason="" if agent.is_final else SESSION_ENDED)
        return None

    def _turn_place(self, turn: Turn) -> Place | None:
        session = self._session
        if turn.agent_id is None:
            if turn.part_of:
                return Place(
                    session.session_id, turn.part_of, ids.turn(session.session_id, turn.part_of)
                )
            return Place(session.session_id, turn.prompt_id, "")
        agent = session.agents.get(turn.agent_id)
        late = agent is None or self._is_late(agent)
        return places.inside(session, None, turn.agent_id, last=late)

    def _adopt(self, agent: Agent, *, ended: bool) -> None:
        """Takes the only call that fits for the one that started a sub-agent."""
        if not (ended and self._is_late(agent)):
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

    def _finish_agent(self, agent: Agent, place: Place, end: _End) -> None:
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
                self._session.closed[key] = [turn.start_ns, turn.last_ns]
                inner = place._replace(parent=ids.agent_run(place.session_id, agent.agent_id))
                self._emit(spans.turn(inner, turn, turn.last_ns, turn.error_type, end.reason))


def _is_told(life: Life) -> bool:
    """Whether its end was told, and it did not go on, as it does when a hook objects."""
    if life.ended_ns >= life.last_ns - _END_NS and life.ended_ns:
        return True
    return 0 < life.hooked_ns >= life.last_ns - (_END_NS if life.is_final else 0)
