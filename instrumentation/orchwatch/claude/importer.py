"""Recorded sessions into the spool's history: files to facts to spans."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.claude.assembler import Assembler
from orchwatch.claude.lines import LineFile, merged, size_bytes
from orchwatch.claude.recorded_spans import FAMILIES, span_ids
from orchwatch.claude.session_files import agent_origin
from orchwatch.claude.spans import encode
from orchwatch.claude.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from orchwatch.claude.facts import Fact
    from orchwatch.claude.import_record import ImportRecord
    from orchwatch.claude.session_files import RecordedSession, SessionFile
    from orchwatch.claude.spans import Span

_LINES_A_LOOK = 200  # at what is complete
_SPANS_A_WRITE = 1000
_BYTES_A_WRITE = 32 * 1024 * 1024


@dataclass
class Summary:
    """What an import added.

    Attributes:
        sessions: Sessions that had something new.
        unchanged: Those that had nothing.
        turns: Turns of sessions.
        agents: Sub-agents, Claude Code's own helpers included.
        tools: Tool calls by name.
        failed: Those that failed, by name.
        api_errors: Failed requests to the model.
        hooks: Hooks that ran.
        compactions: Conversations that were summarised.
        open_turns: Turns that still run; a later import finishes them.
        skipped: Lines that were passed over, by reason.
        spans: All spans.
        session_ids: Whose spans.
        start_ns: When the first of them began, Unix nanoseconds; none without spans.
        end_ns: When the last of them ended.
        read_bytes: How much was read.
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

    def add(self, spans: Sequence[Span]) -> None:
        """Counts finished spans."""
        self.spans += len(spans)
        for span in spans:
            self.session_ids.add(str(span.attributes[names.SESSION_ID]))
            self.start_ns = min(self.start_ns or span.start_ns, span.start_ns)
            self.end_ns = max(self.end_ns, span.end_ns)
            tool = span.attributes.get(names.GEN_AI_TOOL_NAME)
            if isinstance(tool, str):
                self.tools[tool] += 1
                self.failed[tool] += bool(span.error_type)
            self.turns += span.operation == names.AGENT_TURN
            self.agents += span.operation == names.AGENT_RUN
            self.api_errors += span.name == names.API_ERROR
            self.hooks += span.name == names.HOOK_PROCESS
            self.compactions += span.name == names.CONTEXT_COMPACT


def import_sessions(
    sessions: Sequence[RecordedSession],
    record: ImportRecord,
    progress: Callable[[int], None],
) -> Summary:
    """Adds what is new in these sessions to the history.

    Args:
        sessions: Where to look.
        record: What was imported before.
        progress: Called with the number of bytes that were dealt with since the last call.

    Raises:
        OrchwatchError: The record or the spool cannot be written.
    """
    summary = Summary()
    # The monitor process may have followed some of them.
    recorded = {int(span_id, 16) for family in FAMILIES for span_id in span_ids(family)}
    for session in sessions:
        _SessionImport(session, record, recorded, summary, progress).run()
    summary.failed = +summary.failed
    summary.skipped = +summary.skipped
    return summary


class _SessionImport:
    """One session's files, in the order of their lines' times."""

    def __init__(
        self,
        session: RecordedSession,
        record: ImportRecord,
        recorded: Container[int],
        summary: Summary,
        progress: Callable[[int], None],
    ) -> None:
        self._session = session
        self._record = record
        self._recorded = recorded
        self._summary = summary
        self._progress = progress
        self._assembler = Assembler()
        self._spans: list[Span] = []
        self._clock_ns = 0  # the latest time in the files
        self._unkept_bytes = 0

    def run(self) -> None:
        was_open, state = self._record.session(self._session.session_id)
        files, readers, keys = self._open_files()
        has_news = any(
            file.offset < size_bytes(found.path)
            for file, found in zip(files, self._session.files, strict=True)
        )
        if not has_news and not was_open:
            self._summary.unchanged += 1
            self._progress(sum(size_bytes(found.path) for found in self._session.files))
            return
        if state:
            self._assembler.restore(state)
        begun = self._summary.spans
        self._read(files, readers, keys)
        self._spans += self._assembler.finished(max(time.time_ns(), self._clock_ns))
        self._keep(files, readers, keys)
        self._summary.open_turns += self._assembler.open_turns()
        for reader in readers:
            self._summary.skipped += reader.skipped
        changed = self._summary.spans > begun
        self._summary.sessions += changed
        self._summary.unchanged += not changed

    def _open_files(self) -> tuple[list[LineFile], list[Transcript], list[str]]:
        files, readers, keys = [], [], []
        for found in self._session.files:
            key = self._key(found)
            offset, state = self._record.file(key)
            if offset > size_bytes(found.path):
                self._summary.skipped["file is shorter than it was"] += 1
            files.append(LineFile(found.path, offset, self._summary.skipped))
            origin = agent_origin(found.path) if found.agent_id else {}
            readers.append(Transcript(self._session.session_id, found.agent_id, state, **origin))
            keys.append(key)
            self._progress(offset)
        return files, readers, keys

    def _key(self, found: SessionFile) -> str:
        return f"{self._session.session_id}/{found.agent_id or ''}/{found.identity}"

    def _read(self, files: list[LineFile], readers: list[Transcript], keys: list[str]) -> None:
        for number, index in enumerate(merged(files), 1):
            line = files[index].take()
            self._unkept_bytes += len(line)
            for fact in readers[index].read(line):
                self._add(fact)
            if number % _LINES_A_LOOK == 0:
                self._spans += self._assembler.finished(self._clock_ns)
                if len(self._spans) >= _SPANS_A_WRITE or self._unkept_bytes >= _BYTES_A_WRITE:
                    self._keep(files, readers, keys)

    def _add(self, fact: Fact) -> None:
        self._clock_ns = max(self._clock_ns, fact.time_ns)
        self._assembler.add(fact)

    def _keep(self, files: list[LineFile], readers: list[Transcript], keys: list[str]) -> None:
        self._spans = [span for span in self._spans if int(span.span_id, 16) not in self._recorded]
        self._record.keep(
            self._session.session_id,
            self._assembler.save(),
            is_open=self._assembler.is_open(),
            files=[
                (key, file.offset, reader.state())
                for key, file, reader in zip(keys, files, readers, strict=True)
            ],
            lines=encode(self._spans),
        )
        self._summary.add(self._spans)
        self._summary.read_bytes += self._unkept_bytes
        self._progress(self._unkept_bytes)
        self._spans = []
        self._unkept_bytes = 0
