"""Recorded sessions into the spool's history: files to facts to spans."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.agents.registry import guarded
from orchwatch.agents.sessions.assembler import SILENCE_S, Assembler
from orchwatch.agents.sessions.claims import StoredClaims
from orchwatch.agents.sessions.facts import ClientLost
from orchwatch.agents.sessions.import_record import About
from orchwatch.agents.sessions.lines import is_unread, merged, size_bytes
from orchwatch.agents.sessions.recorded_spans import FAMILIES, NewSpans, span_ids
from orchwatch.agents.sessions.spans import NS_PER_S, encode
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
    from orchwatch.agents.sessions.import_record import ImportRecord
    from orchwatch.agents.sessions.spans import Span

_LINES_PER_PASS = 200  # at what is complete
_SPANS_PER_WRITE = 1000
_BYTES_PER_WRITE = 32 * 1024 * 1024
_COLLECT_EVERY = 50_000  # objects


@dataclass
class Summary:
    """What an import added to the history.

    Attributes:
        sessions: Sessions that had something new.
        unchanged: Sessions that had nothing new.
        turns: Turns of sessions.
        agents: Sub-agents, Claude Code's own helpers included.
        tools: Tool calls by name.
        failed: Failed tool calls by name.
        api_errors: Failed requests to the model.
        hooks: Hooks that ran.
        compactions: Conversations that were summarised.
        open_turns: Turns that still run; a later import finishes them.
        skipped: Lines that were passed over, by reason.
        spans: All spans.
        session_ids: The sessions of the spans.
        start_ns: When the first of them began, Unix nanoseconds; none without spans.
        end_ns: When the last of them ended.
        read_bytes: How much was read.
        slowest_ns: How long the slowest turn took, 0 where there is none.
        slowest_trace: Its trace.
        left_out: Sessions on which another package's reader failed, by what it raised.
    """

    sessions: int = 0
    unchanged: int = 0
    turns: int = 0
    agents: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    api_errors: int = 0
    hooks: int = 0
    compactions: int = 0
    open_turns: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    session_ids: set[str] = field(default_factory=set)
    start_ns: int | None = None
    end_ns: int = 0
    read_bytes: int = 0
    slowest_ns: int = 0
    slowest_trace: str = ""
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, spans: Sequence[Span]) -> None:
        """Counts finished spans."""
        self.spans += len(spans)
        for span in spans:
            self.session_ids.add(str(span.attributes[semconv.SESSION_ID]))
            self.start_ns = min(self.start_ns or span.start_ns, span.start_ns)
            self.end_ns = max(self.end_ns, span.end_ns)
            tool = span.attributes.get(semconv.GEN_AI_TOOL_NAME)
            if isinstance(tool, str):
                self.tools[tool] += 1
                self.failed[tool] += bool(span.error_type)
            self.turns += span.operation == semconv.AGENT_TURN
            if (
                span.operation == semconv.AGENT_TURN
                and span.end_ns - span.start_ns > self.slowest_ns
            ):
                self.slowest_ns = span.end_ns - span.start_ns
                self.slowest_trace = span.trace_id
            self.agents += span.operation == semconv.AGENT_RUN
            self.api_errors += span.name == semconv.API_ERROR
            self.hooks += span.name == semconv.HOOK_PROCESS
            self.compactions += span.name == semconv.CONTEXT_COMPACT


def import_sessions(
    sessions: Iterable[tuple[Reader, RecordedSession]],
    record: ImportRecord,
    progress: Callable[[int], None],
) -> Summary:
    """Adds what is new in these sessions to the history.

    Args:
        sessions: Where to look, each with the one who reads it.
        record: What was imported before.
        progress: Called with the number of bytes that were dealt with since the last call.

    Raises:
        OrchwatchError: The record or the spool cannot be written.
    """
    summary = Summary()
    # The monitor process may have followed some of them, and may do so now.
    new_spans = NewSpans()
    recorded = {int(span_id, 16) for family in FAMILIES for span_id in span_ids(family)}
    claims = StoredClaims()
    gc.collect()
    gc.freeze()
    limits = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *limits[1:])  # records are in no circle
    try:
        for reader, session in sessions:
            failed: list[str] = []
            with guarded(reader, failed):
                _SessionImport(
                    reader, session, record, claims, recorded, new_spans, summary, progress
                ).run()
            summary.left_out.update(failed)
    finally:
        gc.set_threshold(*limits)
        gc.unfreeze()
        claims.close()
    summary.failed = +summary.failed
    summary.skipped = +summary.skipped
    return summary


class _SessionImport:
    """One session's files, in the order of their lines' times."""

    def __init__(  # noqa: PLR0917 - what all sessions of an import share
        self,
        reader: Reader,
        session: RecordedSession,
        record: ImportRecord,
        claims: StoredClaims,
        recorded: set[int],
        new_spans: NewSpans,
        summary: Summary,
        progress: Callable[[int], None],
    ) -> None:
        self._reader = reader
        self._session = session
        self._record = record
        self._claims = claims
        self._recorded = recorded
        self._new_spans = new_spans
        self._summary = summary
        self._progress = progress
        self._seen = record.session(reader.name, session.session_id)
        self._assembler = Assembler(claims=claims, provider=reader.provider)
        self._spans: list[Span] = []
        self._clock_ns = 0  # the latest time in the files
        self._unkept_bytes = 0

    def run(self) -> None:
        looks = {found.path: _look(found) for found in self._session.files}
        known = self._seen.files
        if not self._seen.is_open and all(known.get(path) == looks[path] for path in looks):
            self._summary.unchanged += 1
            self._progress(sum(size_bytes(path) for path in looks))
            return
        begun = self._summary.spans
        is_lost = self._is_lost()  # before it is read, so that nothing is written after
        # Until all is read: an import that is killed before has to read it again.
        self._seen.files = {path: look for path, look in known.items() if path not in looks}
        if not self._read():
            # What is missing may belong to any span: the next import reads it all again.
            self._summary.sessions += self._summary.spans > begun
            return
        now_ns = max(time.time_ns(), self._clock_ns)
        if now_ns - self._clock_ns < SILENCE_S * NS_PER_S:
            # It may be running: then an apparent end counts only once the files are quiet.
            # Files of old lines are copies of the past, however young, and nothing follows.
            self._assembler.arrived(max(_modified_ns(found.path) for found in self._session.files))
        self._spans += self._assembler.finished(now_ns)
        if is_lost and self._assembler.is_open():
            self._assembler.add(ClientLost(session_id=self._session.session_id, time_ns=0))
            self._spans += self._assembler.finished(now_ns)
        self._seen.files |= looks
        self._seen.is_open = self._assembler.is_open()
        self._keep()
        self._summary.open_turns += self._assembler.open_turns()
        changed = self._summary.spans > begun
        self._summary.sessions += changed
        self._summary.unchanged += not changed

    def _is_lost(self) -> bool:
        """Whether its process was killed within the time in which it might still run."""
        newest_ns = max(_modified_ns(found.path) for found in self._session.files)
        if time.time_ns() - newest_ns >= SILENCE_S * NS_PER_S:
            return False
        return self._reader.is_lost(self._session)

    def _read(self) -> bool:
        """Whether all that is there could be read; what could not may be later."""
        with ExitStack() as opened:
            return self._read_all(opened)

    def _read_all(self, opened: ExitStack) -> bool:
        found = self._session.files
        skipped: Counter[str] = Counter()
        files = [self._reader.source(file, skipped) for file in found]
        for file in files:
            opened.callback(file.close)
        readers = [self._reader.file_reader(self._session, file, self._claims) for file in found]
        for number, index in enumerate(merged(files), 1):
            records, read_bytes = files[index].take()
            self._unkept_bytes += read_bytes
            for record in records:
                for fact in readers[index].read_record(record):
                    self._clock_ns = max(self._clock_ns, fact.time_ns)
                    self._assembler.add(fact)
            if number % _LINES_PER_PASS == 0:
                if is_unread(why for one in readers for why in one.skipped) or is_unread(skipped):
                    break
                self._spans += self._assembler.finished(self._clock_ns, reading=True)
                if len(self._spans) >= _SPANS_PER_WRITE or self._unkept_bytes >= _BYTES_PER_WRITE:
                    self._keep()
        for reader in readers:
            skipped += reader.skipped
        self._summary.skipped += skipped
        if is_unread(+skipped):
            return False
        self._describe(next((one.version for one in reversed(readers) if one.version), ""), skipped)
        return True

    def _describe(self, version: str, skipped: Counter[str]) -> None:
        if self._clock_ns or +skipped:  # else nothing is in it, not even what is not understood
            about = About(self._reader.name, version, dict(+skipped))
            self._record.describe(self._session.session_id, about)

    def _is_written(self, span_id: str) -> bool:
        number = int(span_id, 16)
        return number in self._seen.spans or number in self._recorded

    def _keep(self) -> None:
        new: dict[int, Span] = {}
        self._recorded.update(int(span_id, 16) for span_id in self._new_spans.take())
        for span in self._spans:
            if not self._is_written(span.span_id):
                new.setdefault(int(span.span_id, 16), span)
        # Known first: a process that is killed in between must not take what it had read, and
        # written, for news.
        self._claims.mark(new.values())
        self._claims.keep()
        spans = list(new.values())
        lines = encode(spans, self._reader.name)
        who = self._reader.name, self._session.session_id
        self._record.keep(*who, self._seen, new, lines)
        self._new_spans.skip(spool.HISTORY, sum(map(len, lines)))
        self._summary.add(spans)
        self._summary.read_bytes += self._unkept_bytes
        self._progress(self._unkept_bytes)
        self._spans = []
        self._unkept_bytes = 0


def _modified_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _look(file: SessionFile) -> list[int | str]:
    """What differs when a file, or what lies beside it, is not what it was."""
    if file.version:
        return [file.version]
    path = file.path
    look: list[int | str] = []
    for beside in (path, path.removesuffix(".jsonl") + ".meta.json"):
        try:
            status = os.stat(beside)
        except OSError:
            look.append(0)
            continue
        look += [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return look
