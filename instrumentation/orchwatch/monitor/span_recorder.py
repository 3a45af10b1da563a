"""Finished spans into the spool, each exactly once.

A process that is killed after it has appended spans, and before it has stored how far it had read,
reads the same again and comes to the same spans, whose ids are derived. So the next process first
reads back what was appended since the last checkpoint.

What cannot be appended (the disk is full, say) waits here, and no checkpoint passes over it: what
it was made from is still there for the next process.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.agents.sessions.recorded_spans import FAMILIES, NewSpans, span_ids
from orchwatch.agents.sessions.spans import encode
from orchwatch.errors import OrchwatchError
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchwatch.agents.sessions.spans import Span

# A span that ended longer ago was not seen happening: it is stored, and not counted as of now.
LIVE_S = 3600.0

_SPANS_PER_WRITE = 1000
# A file that is restored as it was an hour ago repeats all that came since.
_MAX_REMEMBERED = 100_000
_RETRY_INTERVAL_S = 1.0
_NS_PER_S = 1_000_000_000


class SpanRecorder:
    """Appends spans of sessions to the spool, each exactly once.

    Args:
        since: What `ends` returned at the last checkpoint; None reads the whole spool back.
        missed: What `missed` returned then.

    Raises:
        OrchwatchError: The spool cannot be read.
    """

    def __init__(
        self, since: Mapping[str, Sequence[int]] | None, missed: Iterable[str] = ()
    ) -> None:
        self._since = since or {}
        try:
            self._imported = NewSpans((spool.HISTORY,))
            self._before = self._read_back()  # in the spool, and not in what the checkpoint holds
        except OSError as error:
            raise OrchwatchError(
                f"{error.filename} cannot be read: {error.strerror};"
                " give the user access to it, or set ORCHWATCH_HOME"
            ) from error
        self._before.update(missed)
        self._missed = set(missed) if since is None else set(self._before)
        self._latest: dict[str, None] = {}
        self._past: set[str] = set()  # in the spool, looked up, or imported by now
        # By family and service.
        self._waiting: dict[tuple[str, str], list[Span]] = {}
        self._retry_at_s = 0.0

    @property
    def waiting(self) -> int:
        """How many spans could not be appended so far."""
        return sum(map(len, self._waiting.values()))

    def append(
        self, spans: Iterable[Span], now_ns: int, service: str = semconv.CLAUDE_CODE_SERVICE
    ) -> list[Span]:
        """Appends those that are not there yet, after those that wait.

        Args:
            spans: Finished spans.
            now_ns: Unix time in nanoseconds.
            service: The agent whose sessions they are of.

        Returns:
            Those that happened now and are not in what the checkpoint holds.
        """
        live_ns = now_ns - int(LIVE_S * _NS_PER_S)
        happened = []
        # An import may have been first with what this process only begins to follow.
        self._past.update(
            span_id
            for span_id in self._imported.take()
            if span_id not in self._latest and span_id not in self._before
        )
        for span in spans:
            if span.span_id in self._latest or span.span_id in self._past:
                continue
            self._latest[span.span_id] = None
            self._missed.discard(span.span_id)
            family = spool.OPERATIONS if span.end_ns >= live_ns else spool.HISTORY
            if family == spool.OPERATIONS:
                happened.append(span)
            if span.span_id not in self._before:
                self._waiting.setdefault((family, service), []).append(span)
        if time.monotonic() >= self._retry_at_s and not self._flush():
            self._retry_at_s = time.monotonic() + _RETRY_INTERVAL_S
        while len(self._latest) > _MAX_REMEMBERED:
            del self._latest[next(iter(self._latest))]
        return happened

    def missed(self) -> list[str]:
        """What an earlier process recorded and has not come up again, as files were shortened."""
        return sorted(self._missed)

    def look_back(self) -> None:
        """Reads which spans were written before: something is about to be read a second time.

        Raises:
            OSError: The spool cannot be read.
        """
        self._past |= {
            span_id
            for family in FAMILIES
            for span_id in span_ids(family)
            if span_id not in self._before
        }

    def ends(self) -> dict[str, list[int]]:
        """Where each family ends by now: the number of its last segment, and its size in bytes.

        Not to be asked while something waits.
        """
        directory = spool.make_directory()
        found = {}
        for family in FAMILIES:
            numbers = spool.segment_numbers(directory, family)
            if numbers:
                size = os.path.getsize(spool.segment_path(directory, family, numbers[-1]))
                found[family] = [numbers[-1], size]
        self._since = found
        return found

    def _flush(self) -> bool:
        if self._retry_at_s and self.waiting:
            # Of a write that failed, the first lines may be there.
            try:
                there = self._read_back()
            except OSError:
                return False
            for key, spans in self._waiting.items():
                self._waiting[key] = [span for span in spans if span.span_id not in there]
        for (family, service), spans in self._waiting.items():
            while spans:
                # Whatever fails is tried again, so that nothing is lost by it.
                if not spool.append(family, b"".join(encode(spans[:_SPANS_PER_WRITE], service)), 0):
                    return False
                del spans[:_SPANS_PER_WRITE]
        self._retry_at_s = 0.0
        return True

    def _read_back(self) -> set[str]:
        """The spans in the spool since the checkpoint."""
        return {
            span_id
            for family in FAMILIES
            for span_id in span_ids(family, *self._since.get(family, (0, 0)))
        }
