"""Facts in, finished spans out: each span once, whatever the order and the source of the facts.

`add` only merges; `finished` decides, by a clock that its caller gives (the wall clock when
following, the files' own times when importing), what is complete and what will never be:

- A tool, a task or a turn is complete when both ends are known and half a second has passed in
  which the other source can report the same.
- A turn ends when its file says so for good, or when the next prompt comes. An answer that asks
  for no tool only looks like an end: it is one when the file then stays as it is for a while. What
  hooks do after it is no part of it, so that it lasts as long without them.
- Whatever stays open for `silence_s` without any sign of life of its session, or when the session
  ends, is closed as unfinished, with the reason in `orchestration.unfinished.reason`.

What the order of lines in one file decides is decided by its reader (`turns`), so that neither the
clock nor the time of reading plays a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions import hook_turns
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.entities import Session
from orchwatch.agents.sessions.finalizer import finalize
from orchwatch.agents.sessions.reducer import reduce

if TYPE_CHECKING:
    from orchwatch.agents.sessions.facts import Fact
    from orchwatch.agents.sessions.spans import Span

SILENCE_S = 3600.0

_NS_PER_S = 1_000_000_000
_VERSION = 4
_MAX_KNOWN = 10_000


class Assembler:
    """Any number of sessions.

    Args:
        silence_s: Seconds without a sign of life after which what is open is closed.
        claims: Which spans went out in an earlier look at the same files, and what came later.
        provider: Whose models they ask, where a session does not say so itself.
    """

    def __init__(
        self,
        *,
        silence_s: float = SILENCE_S,
        claims: Claims | None = None,
        provider: str = "",
    ) -> None:
        self._provider = provider
        self._claims = claims or Claims()
        self._silence_ns = int(silence_s * _NS_PER_S)
        self._sessions: dict[str, Session] = {}
        self._open: set[str] = set()  # sessions that have something to decide
        # Of sessions that were dropped what a source says at its beginning only; the oldest go.
        self._known: dict[str, dict[str, Any]] = {}

    def add(self, fact: Fact, arrived_ns: int = 0) -> None:
        """Merges one fact.

        Args:
            fact: The fact.
            arrived_ns: When its file was last written to; 0 to go by the fact's own time.
        """
        session = self._sessions.get(fact.session_id)
        if session is None:
            known = self._known.get(fact.session_id, {})
            session = self._sessions[fact.session_id] = Session(session_id=fact.session_id, **known)
        self._open.add(fact.session_id)
        session.last_ns = max(session.last_ns, fact.time_ns)
        if arrived_ns:
            session.arrive(fact.agent_id, arrived_ns)
        if fact.source == "hook":
            placed = hook_turns.place(session, fact)
            if placed is None:
                session.held.append(fact)
                return
            fact = placed
        reduce(session, fact, self._claims)

    def arrived(self, time_ns: int) -> None:
        """Says when the files that were read were last written to; see `add`."""
        for session in self._sessions.values():
            session.arrived_ns = max(session.arrived_ns, time_ns)
            session.arrivals.clear()

    def finished(self, now_ns: int, *, reading: bool = False) -> list[Span]:
        """The spans that became complete, or are given up, by this time.

        Args:
            now_ns: Unix time in nanoseconds.
            reading: More of the same files is about to come, so nothing is given up.
        """
        spans: list[Span] = []
        for session_id in sorted(self._open):
            session = self._sessions[session_id]
            for fact in hook_turns.released(session, now_ns):
                reduce(session, fact, self._claims)
            found = finalize(session, now_ns, self._silence_ns, reading=reading)
            provider = session.provider or self._provider
            name = session.name if found else ""
            spans += [one.of_session(name, session.project, provider) for one in found]
            if not _is_open(session):
                self._open.discard(session_id)
        return spans

    def is_open(self) -> bool:
        """Whether time alone can still finish something."""
        return bool(self._open)

    def open_sessions(self) -> list[Session]:
        """Sessions in which something may still run; not to be changed."""
        return [self._sessions[session_id] for session_id in sorted(self._open)]

    def open_turns(self) -> int:
        """How many turns of sessions still run."""
        return sum(
            turn.agent_id is None
            for session in self._sessions.values()
            for turn in session.turns.values()
        )

    def forget(self, session_id: str) -> None:
        """Drops a session; what comes later about it must not repeat what came before."""
        session = self._sessions.pop(session_id, None)
        self._open.discard(session_id)
        if session is not None and session.began_ns:
            self._known.pop(session_id, None)
            self._known[session_id] = {
                "project": session.project,
                "provider": session.provider,
                "began_ns": session.began_ns,
            }
            while len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def save(self) -> dict[str, Any]:
        """Everything that has to survive the process; JSON."""
        sessions = [session.save() for session in self._sessions.values()]
        return {"version": _VERSION, "sessions": sessions, "known": self._known}

    def restore(self, saved: dict[str, Any]) -> None:
        """Adds what `save` returned; of a version that is not known, nothing."""
        if saved.get("version") != _VERSION:
            return
        self._known.update(saved.get("known", {}))
        for values in saved["sessions"]:
            session = Session.restore(values)
            self._sessions[session.session_id] = session
            self._open.add(session.session_id)


def _is_open(session: Session) -> bool:
    return bool(
        session.turns
        or session.tools
        or session.tasks
        or session.events
        or session.held
        or session.inputs
        or (session.init_ns and not session.started)
        or any(not agent.done for agent in session.agents.values())
    )
