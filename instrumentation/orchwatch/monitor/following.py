"""From session files and hooks to spans in the spool, with regular checkpoints."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.reader import ClaudeCode
from orchwatch.agents.claude_code.sessions.session_files import owner
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import StoredClaims
from orchwatch.errors import OrchwatchError
from orchwatch.monitor import open_work
from orchwatch.monitor.ended_clients import LostClients
from orchwatch.monitor.hook_events import HookEvents
from orchwatch.monitor.other_agents import OtherAgents
from orchwatch.monitor.session_files import SessionFiles
from orchwatch.monitor.span_recorder import LIVE_S, SpanRecorder
from orchwatch.monitor.tokens import Tokens
from orchwatch.monitor.transcripts import RewrittenError, Transcripts
from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.agents.reader import Reader
    from orchwatch.agents.sessions.entities import Session
    from orchwatch.agents.sessions.facts import Fact
    from orchwatch.analysis.at_work import Working
    from orchwatch.analysis.busy import Interval
    from orchwatch.monitor.checkpoint import Checkpoint
    from orchwatch.monitor.other_agents import OtherAgent
    from orchwatch.monitor.tail import Tail

_CHECKPOINT_INTERVAL_S = 5.0
# At most this share of the time goes into checkpoints, however much they hold.
_CHECKPOINT_SHARE = 0.005
_MAX_WAITING = 10_000
_FORGET_NS = 24 * 3600 * 1_000_000_000

_logger = logging.getLogger(__name__)


class Following:
    """Follows sessions, a step at a time.

    Args:
        checkpoint: The previous process' checkpoint, updated from now on.
        roots: The projects folders of Claude Code.
        readers: Of other agents, which are followed too.

    Attributes:
        spans: How many spans were recorded.
        tokens: The tokens that they used.
    """

    def __init__(
        self, checkpoint: Checkpoint, roots: Sequence[str], readers: Sequence[Reader] = ()
    ) -> None:
        self._readers = readers
        self._checkpoint = checkpoint
        self._save_at_s = 0.0
        self._complained: str | None = None
        self._claims = StoredClaims()
        self.spans = 0
        saved = checkpoint.load()
        try:
            try:
                self._restore(saved or {}, roots)
            except (LookupError, TypeError, ValueError, AttributeError):  # of another version, say
                _logger.warning(
                    "the checkpoint is of no use; looking in the spool for what is recorded"
                )
                saved = None
                self._restore({}, roots)
        except OrchwatchError:
            self.close()
            raise
        self._unsaved = saved is None

    def _restore(self, saved: dict[str, Any], roots: Sequence[str]) -> None:
        since_s = time.time() - LIVE_S
        self._roots = {root: saved.get("roots", {}).get(root, since_s) for root in roots}
        self._files = SessionFiles(self._roots, saved.get("files", {}))
        self._hooks = HookEvents(saved.get("hooks", {}))
        self._transcripts = Transcripts(saved.get("transcripts", {}), self._claims)
        self._clients = LostClients(roots, saved.get("clients", ()))
        self._since_s: float = saved.get("since_s", since_s)
        others = saved.get("others", {})
        self._others = OtherAgents(self._readers, self._claims, self._since_s, others)
        self._recorded = SpanRecorder(saved.get("spool"), saved.get("missed", ()))
        self._assembler = Assembler(claims=self._claims, provider=ClaudeCode.provider)
        self._assembler.restore(saved.get("assembler", {}))
        self._heard_ns: dict[str, int] = saved.get("heard_ns", {})
        # Sessions that are read again: any of their spans may come up again.
        self._anew: dict[str, int] = saved.get("anew", {})
        if self._anew:
            self._recorded.look_back()
        self.tokens = Tokens(saved.get("tokens"))

    def step(self, interval_s: float) -> None:
        """Reads what came since, and records finished spans.

        Args:
            interval_s: How often this is called, in seconds.
        """
        if self._recorded.waiting > _MAX_WAITING:  # nothing is lost by being read later
            self._record(time.time_ns())
            return
        self._add(self._hooks.read())
        for changed in self._files.poll(time.monotonic(), interval_s):
            try:
                self._read(changed)
            except RewrittenError as rewritten:
                self._read_anew(str(rewritten))
        self._add(self._transcripts.named(time.time_ns()))
        self._unsaved = self._others.step(time.monotonic()) or self._unsaved
        # Before every file was read once, a session may look silent that is not.
        if self._files.complete:
            self._add(self._clients.poll(time.monotonic()))
            if self._files.left:
                _logger.info(
                    "%d older session files are left to `orchwatch claude import`", self._files.left
                )
                self._files.left = 0
            self._record(time.time_ns())
            if self._unsaved and time.monotonic() >= self._save_at_s:
                self.save()

    def _keep_claims(self) -> bool:
        """Stores the claims before any span that follows from them."""
        try:
            self._claims.keep()
        except OrchwatchError as error:
            if str(error) != self._complained:
                self._complained = str(error)
                _logger.warning("%s", error)
            return False
        return True

    def unfinished(self) -> list[Interval]:
        """The intervals of agents at work now, for the key figures."""
        return open_work.intervals(self._open_sessions(), time.time_ns())

    def at_work(self) -> list[Working]:
        """Which agents are at work now, and what they do."""
        return open_work.agents(self._open_sessions(), time.time_ns())

    def _open_sessions(self) -> list[Session]:
        return [*self._assembler.open_sessions(), *self._others.open_sessions()]

    def export_tokens(self) -> None:
        """Appends what models used to the spool's metrics, where that is due."""
        self.tokens.export()
        for agent in self._others:
            agent.tokens.export()

    def save(self) -> None:
        """Stores how far all is read and what is open.

        Not before every file was read once: by then all spans that a killed process had recorded
        after its last checkpoint have come up again and were recognised. Nor while the spool
        cannot be written: the waiting spans are known only from what was read.
        """
        if not self._files.complete or self._recorded.waiting:
            return
        started_s = time.monotonic()
        try:
            self._checkpoint.save(self._values())
        except OSError as error:
            if error.strerror != self._complained:
                self._complained = error.strerror
                _logger.warning("the checkpoint cannot be written: %s", error.strerror)
        else:
            self._unsaved, self._complained = False, None
            self._hooks.drop_read()
        took_s = time.monotonic() - started_s
        wait_s = max(_CHECKPOINT_INTERVAL_S, took_s / _CHECKPOINT_SHARE)
        self._save_at_s = started_s + wait_s

    def close(self) -> None:
        """Closes the files it keeps open."""
        self._claims.close()

    def _values(self) -> dict[str, Any]:
        return {
            "roots": self._roots,
            "files": self._files.positions(),
            "hooks": self._hooks.positions(),
            "transcripts": self._transcripts.states(),
            "assembler": self._assembler.save(),
            "spool": self._recorded.ends(),
            "heard_ns": self._heard_ns,
            "missed": self._recorded.missed(),
            "anew": self._anew,
            "clients": self._clients.save(),
            "tokens": self.tokens.save(),
            "since_s": self._since_s,
            "others": self._others.save(),
        }

    def _read(self, tails: Iterable[Tail]) -> None:
        for tail in tails:
            self._add(self._transcripts.read(tail), tail)

    def _read_anew(self, path: str) -> None:
        """A file no longer holds what was read of it: its session is read from the start.

        Written spans are recognised by their ids, so only new ones are written.
        """
        losses.count("rewritten_session")
        session_id, _ = owner(path)
        self._recorded.look_back()
        self._anew[session_id] = time.time_ns()
        try:
            self._read(self._restart(session_id, path))
        except RewrittenError:  # again, while it was read: at the next look then
            self._restart(session_id, path)

    def _restart(self, session_id: str, path: str) -> list[Tail]:
        self._assembler.forget(session_id)
        return self._files.restart({path, *self._transcripts.forget(session_id)})

    def _add(self, facts: Iterable[Fact], tail: Tail | None = None) -> None:
        for fact in facts:
            try:
                self._assembler.add(fact, tail.modified_ns if tail else time.time_ns())
            except Exception:  # a fact that would end this process would end the next one too
                losses.count("internal_error")
                _logger.exception("a fact was left out")
            # By the clock: a file that is put there today may be about last year.
            self._heard_ns[fact.session_id] = time.time_ns()
            self._unsaved = True

    def _record(self, now_ns: int) -> None:
        if not self._keep_claims():
            return
        finished = self._assembler.finished(now_ns)
        if finished:
            self._claims.mark(finished)
            self._keep_claims()
        if finished or self._recorded.waiting:
            self._unsaved = True
            self.tokens.add(self._recorded.append(finished, now_ns))
            self.spans += len(finished)
        for agent in self._others:
            self._record_of(agent, now_ns)
        for session_id, heard_ns in list(self._heard_ns.items()):
            if now_ns - heard_ns > _FORGET_NS:
                self._assembler.forget(session_id)
                del self._heard_ns[session_id]
                self._anew.pop(session_id, None)

    def _record_of(self, agent: OtherAgent, now_ns: int) -> None:
        finished = agent.finished(now_ns)
        if not finished:
            return
        if agent.looks_back:
            self._recorded.look_back()
            agent.looks_back = False
        self._claims.mark(finished)
        self._keep_claims()
        self._unsaved = True
        agent.tokens.add(self._recorded.append(finished, now_ns, agent.service))
        self.spans += len(finished)
