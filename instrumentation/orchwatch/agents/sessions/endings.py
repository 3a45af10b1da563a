"""Whether a tool call, a turn or a sub-agent has ended by a given time, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch.agents.sessions import places
from orchwatch.agents.sessions.facts import (
    KILLED,
    MICRO,
    NEXT_PROMPT,
    NO_END,
    NO_START,
    SESSION_ENDED,
    SILENCE,
)

if TYPE_CHECKING:
    from orchwatch.agents.sessions.entities import Agent, Session, Tool, Turn
    from orchwatch.agents.sessions.facts import Compacted
    from orchwatch.agents.sessions.lifecycle import Lifecycle

_NS_PER_S = 1_000_000_000
SETTLE_NS = _NS_PER_S // 2  # within which the other source reports the same
_END_NS = _NS_PER_S  # by which a sign of life may follow the end and still belong before it
_LAG_NS = 5 * _NS_PER_S // 4  # by which a file may lag behind another, or behind a hook
_GONE_NS = 2 * _NS_PER_S  # after the session's end
START_NS = 5 * _NS_PER_S  # that a start may come later than its end
_SAID_NS = _NS_PER_S  # after a message that says it is the last one
_OBJECTION_NS = 5 * _NS_PER_S  # the same where a hook may still object, which the file then shows
_QUIET_NS = 120 * _NS_PER_S  # after one that only looks so: a long tool call may be in the making
_LATE_NS = 60 * _NS_PER_S  # by which a file of the session may come later than the others
_LONG_NS = 600 * _NS_PER_S  # for a compaction


class End(NamedTuple):
    """How something ended: when, and what was wrong."""

    time_ns: int
    error_type: str = ""
    reason: str = ""


class Endings:
    """What one look at a session finds ended.

    Args:
        session: The session.
        now_ns: Unix time in nanoseconds.
        silence_ns: How long without a sign of life what is open is closed after.
        reading: More of the same files is about to come, so nothing is given up.

    Attributes:
        gives_up: The reason why all that is open is closed now; empty while it may go on.
    """

    def __init__(self, session: Session, now_ns: int, silence_ns: int, *, reading: bool) -> None:
        self._session = session
        self._now_ns = now_ns
        self._reading = reading
        self.gives_up = ""
        if session.ended_ns and session.ended_ns >= session.last_ns - _END_NS:
            self.gives_up = SESSION_ENDED if self.quiet(session.last_ns, _GONE_NS) else ""
        elif session.lost_ns and session.lost_ns >= session.last_ns:
            said_so = session.exited_ns >= session.last_ns - _END_NS
            self.gives_up = SESSION_ENDED if said_so else KILLED
        elif self.quiet(session.last_ns, silence_ns):
            self.gives_up = SILENCE

    def settled(self, time_ns: int) -> bool:
        """Whether other sources have had time to report the same, or Claude Code has exited."""
        exited = self._session.exited_ns >= time_ns
        return bool(self.gives_up) or exited or self.past(time_ns, SETTLE_NS)

    def past(self, time_ns: int, wait_ns: int) -> bool:
        """Whether that much time has passed since."""
        return self._now_ns - time_ns >= wait_ns

    def quiet(self, time_ns: int, wait_ns: int, whose: str | None = None) -> bool:
        """Whether nothing has come for that long, by its own time and by the clock.

        Args:
            time_ns: Its own time.
            wait_ns: How long.
            whose: A sub-agent's id, or empty for the session's own conversation; by default both.
        """
        if self._reading:
            return False
        arrived_ns = self._session.arrived_ns
        if whose is not None:
            arrived_ns = self._session.arrivals.get(whose, arrived_ns)
        return self.past(max(time_ns, arrived_ns), wait_ns)

    def is_late(self, agent: Agent) -> bool:
        """Whether other files have had time to show what they know of a sub-agent."""
        last_ns = max(agent.last_ns, agent.stopped_ns)
        return bool(self.gives_up) or self.quiet(last_ns, _LATE_NS)

    def knows_start(self, fact: Compacted) -> bool:
        """Whether the start of a compaction is known, or can no longer become known."""
        if self.gives_up or self.quiet(fact.time_ns, _LATE_NS):
            return True
        if fact.duration_ns is not None or fact.trigger == MICRO:
            return self.past(fact.time_ns, SETTLE_NS)
        earlier = [at for at in self._session.compact_starts if at <= fact.time_ns]
        return bool(earlier) and fact.time_ns - max(earlier) < _LONG_NS

    def of_tool(self, tool: Tool) -> tuple[int, str]:
        """When a tool call ended, 0 while it may go on; and why it is unfinished."""
        if tool.end_ns and tool.start_ns:
            return (tool.end_ns if self.settled(tool.end_ns) else 0), ""
        if tool.end_ns:
            late = self.gives_up or self.quiet(tool.end_ns, START_NS)
            return (tool.end_ns if late else 0), NO_START
        if tool.cut_ns:
            end_ns = max(tool.cut_ns, tool.start_ns)
            return (end_ns if self.settled(tool.cut_ns) else 0), tool.cut_reason
        reason = self.gives_up
        agent = self._session.agents.get(tool.agent_id) if tool.agent_id else None
        if not reason and agent is not None and agent.done:
            reason = NO_END
        return (max(tool.start_ns, tool.seen_ns) if reason else 0), reason

    def of_turn(self, turn: Turn) -> End | None:
        """How a turn ended; None while it may go on."""
        if turn.over:
            if not self.settled(turn.last_ns):
                return None
            if _has_ended(turn):
                return End(turn.end_ns, turn.error_type, turn.reason)
            return End(turn.last_ns, reason=turn.over_reason)
        if turn.agent_id:
            agent = self._session.agents.get(turn.agent_id)
            done = agent is None or agent.done
            return End(turn.last_ns) if done and self.quiet(turn.last_ns, _QUIET_NS) else None
        return self._ended(turn, "", _OBJECTION_NS if self._session.writes_ends else _SAID_NS)

    def of_agent(self, agent: Agent) -> End | None:
        """How a sub-agent ended, as it reports itself, or its caller or the host does."""
        if not agent.start_ns and not self.is_late(agent):
            return None  # its own file lags behind
        reported = self._reported_end(agent)
        if reported is None:
            return self._ended(agent, agent.agent_id, _OBJECTION_NS)
        sure = agent.said_done and agent.is_final
        if sure and self._session.exited_ns >= agent.last_ns:
            return reported
        wait_ns = SETTLE_NS if sure else _LAG_NS
        settled = self.quiet(max(reported.time_ns, agent.last_ns), wait_ns, agent.agent_id)
        return reported if self.gives_up or settled else None

    def _reported_end(self, agent: Agent) -> End | None:
        session = self._session
        notice = next(
            (
                End(int(at), error or "")
                for at, error in session.notices.get(agent.agent_id, [])
                if at >= agent.last_ns - _END_NS
            ),
            None,
        )
        own_ns = (agent.ended_ns or agent.hooked_ns) if _has_ended(agent) else 0
        if notice:
            at = agent.last_ns if agent.is_final or own_ns else max(notice.time_ns, agent.last_ns)
            return End(at, notice.error_type or (agent.error_type if own_ns else ""))
        if own_ns:
            end_ns = own_ns if agent.reason else agent.last_ns or agent.stopped_ns
            return End(end_ns, agent.error_type, agent.reason)
        call = session.calls.get(agent.call) or places.likely_call(session, agent)
        if call and call.cut_ns and not call.background and call.cut_reason != NEXT_PROMPT:
            return End(max(call.cut_ns, agent.last_ns), reason=call.cut_reason)
        if session.exited_ns >= agent.last_ns > 0:
            return End(agent.last_ns, reason="" if agent.is_final else SESSION_ENDED)
        return None

    def _ended(self, life: Lifecycle, whose: str, said_ns: int) -> End | None:
        """How a turn or a sub-agent ended by its own account; None while it may go on.

        Args:
            life: What it is about.
            whose: As in `quiet`.
            said_ns: How long to wait after a message that says it is the last one.
        """
        reported = _has_ended(life)
        last_ns = max(life.last_ns, life.ended_ns, life.hooked_ns)
        if reported:
            wait_ns = _END_NS if life.is_final else _LAG_NS
            if life.ended_ns >= life.last_ns:  # the file itself, after all hooks
                wait_ns = SETTLE_NS
            if self.gives_up or self.quiet(last_ns, wait_ns, whose):
                return End(life.end_ns, life.error_type, life.reason)
        wait_ns = said_ns if life.said_done else _QUIET_NS
        if (
            not reported
            and life.is_final
            and (self.gives_up or self.quiet(last_ns, wait_ns, whose))
        ):
            return End(life.last_ns)  # without the error of an end after which it went on
        return End(life.last_ns, reason=self.gives_up) if self.gives_up else None


def _has_ended(life: Lifecycle) -> bool:
    """Whether its end was reported and it did not go on, as it does when a hook objects."""
    if life.ended_ns >= life.last_ns - _END_NS and life.ended_ns:
        return True
    return 0 < life.hooked_ns >= life.last_ns - (_END_NS if life.is_final else 0)
