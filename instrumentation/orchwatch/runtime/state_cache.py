"""Results of queries, kept until what they were read from is written, or memory is short."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.runtime.state_paths import Keys

_CONTAINERS = frozenset({dict, list})
_ENTRY_BYTES = 400  # the entry itself, in CPython
# Of so many written members it is remembered when; then everything counts as written.
_MAX_WRITTEN = 20_000


@dataclass(frozen=True, kw_only=True)
class CacheStatistics:
    """What a cache did since it was made.

    Attributes:
        hits: Results that were there.
        misses: Results that were not, or no longer held.
        evictions: Results that were dropped to make room.
        entries: Results that are kept now.
        size_bytes: What they take, about.
        max_bytes: What they may take.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    entries: int = 0
    size_bytes: int = 0
    max_bytes: int = 0


class _Entry(NamedTuple):
    values: list[Any]
    reads: tuple[Keys, ...]
    version: int
    size_bytes: int


class StateCache:
    """Results by path, of at most `max_bytes`; the one that was used longest ago goes first.

    A result says which members it was read from. It holds until one of them is written, or what is
    above or below it: a write to `$.a` leaves results from `$.b`.

    Attributes:
        max_bytes: What all of them may take; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._hits = self._misses = self._evictions = self._size_bytes = 0
        # The version of the last write to a member itself, and to anything at or below it.
        self._written_at: dict[Keys, int] = {}
        self._written_below: dict[Keys, int] = {}

    @property
    def statistics(self) -> CacheStatistics:
        """What it did so far."""
        return CacheStatistics(
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
            entries=len(self._entries),
            size_bytes=self._size_bytes,
            max_bytes=self.max_bytes,
        )

    def get(self, path: str) -> list[Any] | None:
        """The values that were kept for `path`, not copied; None where none hold."""
        entry = self._entries.get(path)
        if entry is not None and self._holds(entry):
            self._entries.move_to_end(path)
            self._hits += 1
            return entry.values
        if entry is not None:
            self._drop(path)
        self._misses += 1
        return None

    def put(
        self,
        path: str,
        values: list[Any],
        *,
        reads: tuple[Keys, ...],
        version: int,
        size_bytes: int,
    ) -> None:
        """Keep a result.

        Args:
            path: The query.
            values: Its result; they must not be changed.
            reads: The members that it was read from.
            version: The state's.
            size_bytes: What the values take.
        """
        size_bytes += _ENTRY_BYTES + sys.getsizeof(path)
        if path in self._entries:
            self._drop(path)
        if size_bytes > self.max_bytes:
            return
        self._entries[path] = _Entry(values, reads, version, size_bytes)
        self._size_bytes += size_bytes
        self.trim(self.max_bytes)

    def trim(self, size_bytes: int) -> None:
        """Drop what was used longest ago, until the rest takes no more than this."""
        while self._entries and self._size_bytes > size_bytes:
            self._drop(next(iter(self._entries)))
            self._evictions += 1

    def invalidate(self, written: Iterable[Keys], version: int) -> None:
        """Take note that members have been written, the last of them with `version`."""
        for keys in written:
            self._written_at[keys] = version
            for depth in range(len(keys) + 1):
                self._written_below[keys[:depth]] = version
        if len(self._written_below) > _MAX_WRITTEN:
            self._written_at = {(): version}
            self._written_below = {(): version}

    def _holds(self, entry: _Entry) -> bool:
        version = entry.version
        for keys in entry.reads:
            if self._written_below.get(keys, 0) > version:
                return False
            for depth in range(len(keys)):
                if self._written_at.get(keys[:depth], 0) > version:
                    return False
        return True

    def _drop(self, path: str) -> None:
        self._size_bytes -= self._entries.pop(path).size_bytes


def copied(values: list[Any]) -> list[Any]:
    """JSON values that share nothing with these that can change."""
    return [_copied(value) if type(value) in _CONTAINERS else value for value in values]


def _copied(value: Any) -> Any:
    if type(value) is list:
        return copied(value)
    return {
        name: _copied(member) if type(member) in _CONTAINERS else member
        for name, member in value.items()
    }


def size(value: Any) -> int:
    """The bytes that a JSON value takes in memory, about; its members' names are shared."""
    size_bytes = sys.getsizeof(value)
    if type(value) in _CONTAINERS:
        for member in value if type(value) is list else value.values():
            size_bytes += size(member)
    return size_bytes
