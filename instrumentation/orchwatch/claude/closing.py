"""What of a session is complete by a moment, and what will never be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.claude import ids, places, spans
from orchwatch.claude.entities import REMEMBER_NS
from orchwatch.claude.facts import Compacted, HookRan
from orchwatch.claude.spans import Place, Span

if TYPE_CHECKING:
    from orchwatch.claude.entities import Agent, Life, Session, Tool, Turn

# Reasons for which something is closed unfinished.
SILENCE = "silence"
SESSION_ENDED = "session_ended"
NEXT_PROMPT = "next_prompt"
NO_START = "no_start_seen"
NO_END = "no_end_seen"

_NS_PER_S = 1_000_000_000
_SETTLE_NS = _NS_PER_S // 2  # in which the other source tells the same
_END_NS = _NS_PER_S  # by which a sign of life may follow the end and still belong before it
_AGENT_NS = 2 * _NS_PER_S  # by which a sub-agent's file may lag behind the session's
_START_NS = 5 * _NS_PER_S  # that a start may come later than its end
_SAID_NS = 5 * _NS_PER_S  # after a message that says it is the last one
_QUIET_NS = 120 * _NS_PER_S  # after one that only looks so: a long tool call may be in the making
_LATE_NS = 60 * _NS_PER_S  # for the answer of a tool when the next prompt is there
_REMEMBERED = 1000


def finished(session: Session, now_ns: int, silence_ns: int) -> list[Span]:
    """The spans that are complete, or given up; what they were made of is let go."""
    closing = _Closing(session, now_ns, silence_ns)
    closing.start()
    closing.tools()
    closing.moments()
    closing.tasks()
    closing.agents()
    closing.turns()
    closing.remember()
    return closing.spans


class _Closing:
    """One pass over a session."""

    def __init__(self, session: Session, now_ns: int, silence_ns: int) -> None:
        self.spans: list[Span] = []
        self._session = session
        self._now_ns = now_ns
        self._gives_up = ""
        if session.ended_ns and session.ended_ns >= session.last_ns - _END_NS:
            self._gives_up = SESSION_ENDED if self._past(session.last_ns, _AGENT_NS) else ""
        elif self._past(session.last_ns, silence_ns):
            self._gives_up = SILENCE
        begun = [turn.start_ns for turn in session.turns.values() if turn.agent_id is None]
        begun += [start_ns for key, (start_ns, _) in session.closed.items() if "/" not in key]
        self._latest_prompt_ns = max(begun, default=0)

    def start(self) -> None:
        session = self._session
        if session.ready_ns and session.start_ns and not session.started:
            session.started = True
            self._emit(spans.session_init(session.session_id, session.start_ns, session.ready_ns))

    def tools(self) -> None:
        for tool in list(self._session.tools.values()):
            end_ns, reason = self._tool_end(tool)
            if not end_ns:
                continue
            if not tool.name:  # the answer to a call that nobody has seen
                if self._gives_up:
                    del self._session.tools[tool.tool_use_id]
                continue
            place = places.inside(
                self._session, tool.prompt_id, tool.agent_id, tool.agent_turn
            ) or self._last_resort(tool.start_ns or end_ns, tool.agent_id)
            if place is None:
                continue
            tool.start_ns = tool.start_ns or end_ns - (tool.duration_ns or 0)
            del self._session.tools[tool.tool_use_id]
            self._emit(spans.tool(place, tool, end_ns, reason))

    def moments(self) -> None:
        session = self._session
        waiting, session.moments = session.moments, []
        for fact in waiting:
            if isinstance(fact, Compacted) and not self._past(fact.time_ns, _SETTLE_NS):
                session.moments.append(fact)
                continue
            place = places.inside(session, fact.prompt_id, fact.agent_id, fact.agent_turn)
            if place is None and fact.agent_id is None:
                place = self._outside()
            place = place or self._last_resort(fact.time_ns, fact.agent_id)
            if place is None:
                session.moments.append(fact)
                continue
            if isinstance(fact, HookRan) and fact.tool_use_id:
                place = place._replace(parent=ids.tool(session.session_id, fact.tool_use_id))
            self._emit(spans.moment(place, fact, session.compact_starts))

    def tasks(self) -> None:
        session = self._session
        for task_id, task in list(session.tasks.items()):
            end_ns, reason = task.completed_ns, "" if task.created_ns else NO_START
            if not end_ns and self._gives_up:
                end_ns, reason = session.last_ns, self._gives_up
            wait_ns = _SETTLE_NS if task.created_ns else _START_NS
            if not end_ns or not (self._gives_up or self._past(end_ns, wait_ns)):
                continue
            place = places.inside(session, task.prompt_id, None) or self._outside()
            del session.tasks[task_id]
            self._emit(spans.task(place, task_id, task, end_ns, reason))

    def agents(self) -> None:
        for agent in self._session.agents.values():
            if agent.done:
                continue
            ended, reason = self._ended(agent, _AGENT_NS)
            if not agent.call:
                self._adopt(agent, ended=ended)
            self._spawn(agent, ended=ended)
            # Its call's answer may be all that will name that call, and comes a little later.
            linked = agent.call or places.is_helper(agent.agent_id) or self._gives_up
            if not ended or not (linked or self._past(agent.last_ns, _LATE_NS)):
                continue
            if not agent.start_ns and not self._past(agent.stopped_ns, _LATE_NS):
                continue  # its own file lags behind
            place = places.of_agent(self._session, agent) or self._last_resort(
                agent.start_ns, agent.agent_id
            )
            if place is not None:
                self._finish_agent(agent, place, reason)

    def turns(self) -> None:
        session = self._session
        for key, turn in list(session.turns.items()):
            ended, reason = self._turn_ended(turn)
            if not ended:
                continue
            place = self._turn_place(turn)
            if place is None:
                continue
            del session.turns[key]
            session.closed[key] = [turn.start_ns, turn.last_ns]
            reason = reason or ("" if turn.prompted else NO_START)
            self._emit(spans.turn(place, turn, turn.last_ns, reason))

    def remember(self) -> None:
        session = self._session
        emitted = session.emitted
        if self._gives_up == SILENCE:
            emitted.clear()  # no other source tells so late what one has told
        for span_id in list(emitted):
            if not self._past(emitted[span_id], REMEMBER_NS):
                break
            del emitted[span_id]
        while len(session.closed) > _REMEMBERED:
            del session.closed[next(iter(session.closed))]
        done = [agent for agent in session.agents.values() if agent.done]
        for agent in done[:-_REMEMBERED]:
            del session.agents[agent.agent_id]
            session.calls.pop(agent.call, None)

    def _past(self, time_ns: int, wait_ns: int) -> bool:
        return self._now_ns - time_ns >= wait_ns

    def _emit(self, span: Span) -> None:
        if span.span_id not in self._session.emitted:
            self._session.emitted[span.span_id] = self._now_ns
            self.spans.append(span)

    def _outside(self) -> Place:
        session_id = self._session.session_id
        return Place(session_id, "", ids.session_init(session_id))

    def _last_resort(self, time_ns: int, agent_id: str | None) -> Place | None:
        """When nothing more can come: the turn that ran at the time, or none."""
        if not self._gives_up:
            return None
        prompt_id = places.turn_at(self._session, time_ns)
        if prompt_id is None:
            return self._outside()
        return places.inside(self._session, prompt_id, agent_id)

    def _tool_end(self, tool: Tool) -> tuple[int, str]:
        """When a tool call ended, 0 while it may go on; and why it is unfinished."""
        if tool.end_ns and tool.start_ns:
            settled = self._gives_up or self._past(tool.end_ns, _SETTLE_NS)
            return (tool.end_ns if settled else 0), ""
        if tool.end_ns:
            late = self._gives_up or self._past(tool.end_ns, _START_NS)
            return (tool.end_ns if late else 0), NO_START
        reason = self._gives_up
        agent = self._session.agents.get(tool.agent_id) if tool.agent_id else None
        if not reason and agent is not None and agent.done:
            reason = NO_END
        if (
            not reason
            and tool.agent_id is None
            and self._latest_prompt_ns > (tool.start_ns or tool.seen_ns)
        ):
            reason = NEXT_PROMPT if self._past(self._latest_prompt_ns, _LATE_NS) else ""
        return (max(tool.start_ns, tool.seen_ns) if reason else 0), reason

    def _ended(self, life: Life, settle_ns: int) -> tuple[bool, str]:
        """Whether something has ended, and why it is unfinished."""
        last_ns = max(life.last_ns, life.ended_ns)
        told = bool(life.ended_ns) and life.ended_ns >= life.last_ns - _END_NS
        if told and (self._gives_up or self._past(last_ns, settle_ns)):
            return True, life.reason
        final = bool(life.final_ns) and life.final_ns >= life.last_ns
        wait_ns = _SAID_NS if life.said_done else _QUIET_NS
        if not told and final and (self._gives_up or self._past(last_ns, wait_ns)):
            life.error_type = ""  # of an end after which it went on
            return True, ""
        if self._gives_up:
            life.error_type = ""
            return True, self._gives_up
        return False, ""

    def _turn_ended(self, turn: Turn) -> tuple[bool, str]:
        ended, reason = self._ended(turn, _END_NS)
        if ended:
            return True, reason
        next_ns = min(
            [
                other.start_ns
                for other in self._session.turns.values()
                if other.agent_id == turn.agent_id and other.start_ns > turn.start_ns
            ],
            default=0,
        )
        if next_ns and self._past(next_ns, _AGENT_NS):
            if turn.ended_ns >= turn.last_ns - _END_NS:
                return True, turn.reason
            turn.error_type = ""
            return True, "" if turn.final_ns >= turn.last_ns else NEXT_PROMPT
        agent = self._session.agents.get(turn.agent_id) if turn.agent_id else None
        return bool(agent and agent.done and self._past(turn.last_ns, _QUIET_NS)), ""

    def _turn_place(self, turn: Turn) -> Place | None:
        if turn.agent_id is None:
            return Place(self._session.session_id, turn.prompt_id, "")
        place = places.inside(self._session, None, turn.agent_id)
        return place or self._last_resort(turn.start_ns, turn.agent_id)

    def _adopt(self, agent: Agent, *, ended: bool) -> None:
        """Takes the only call that fits for the one that started a sub-agent."""
        if not (ended and self._past(agent.last_ns, _LATE_NS)):
            return
        call = places.likely_call(self._session, agent, guess=True)
        if call:
            agent.call, call.agent = call.tool_use_id, agent.agent_id

    def _spawn(self, agent: Agent, *, ended: bool) -> None:
        call = self._session.calls.get(agent.call)
        if agent.spawned or call is None or not agent.start_ns:
            return
        if not (ended or self._past(agent.start_ns, _AGENT_NS)):
            return
        place = places.of_agent(self._session, agent)
        if place is not None:
            agent.spawned = True
            self._emit(spans.agent_spawn(place, agent, call))

    def _finish_agent(self, agent: Agent, place: Place, reason: str) -> None:
        agent.done = True
        call = self._session.calls.get(agent.call)
        agent.start_ns = agent.start_ns or (call.start_ns if call else agent.stopped_ns)
        end_ns = agent.last_ns or agent.stopped_ns
        self._emit(spans.agent_run(place, agent, end_ns, reason))
        for key, turn in list(self._session.turns.items()):
            if turn.agent_id == agent.agent_id:
                del self._session.turns[key]
                self._session.closed[key] = [turn.start_ns, turn.last_ns]
                inner = place._replace(parent=ids.agent_run(place.session_id, agent.agent_id))
                self._emit(spans.turn(inner, turn, turn.last_ns, reason))
