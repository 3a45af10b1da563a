"""How often operations ended within a window and how long they took, in bounded memory.

Time is divided into slots, of which the window is a whole number, so it may reach back one slot
further. Durations fall into bins 1.6 % wide at most, as in an HDR histogram, and stand for its
middle; of an operation that is rare each one is kept, so that its percentiles are exact. How many
were within the target and the warning is counted, never interpolated, and a percentile is on the
right side of both.
"""

from __future__ import annotations

from array import array
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from orchwatch.store.spans import NS_PER_S, Summary, Work, whole_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.monitor.ended_operations import EndedOperation
    from orchwatch.targets.target_table import Targets

SLOT_NS = 30 * NS_PER_S
MAX_OPERATIONS = 500
"""Beyond the table's; what comes after so many is counted together."""
MAX_EXACT = 200
"""Of an operation that ended no more often than that each duration is kept."""
LEFT_OUT = "(other operations)"
"""What those that come after too many others are called together."""

_BIN_BITS = 6
_KEY_BITS = 12  # 58 powers of two, 64 bins each
_KEY_MASK = (1 << _KEY_BITS) - 1
_LEFT_OUT_NUMBER = -1
# What is counted of an operation.
_COUNT, _ERRORS, _TOTAL_NS, _UNDER_TARGET, _UNDER_WARNING = range(5)
_NOTHING = (0, 0, 0, 0, 0)


class _Sums:
    """Counts by number of the operation, and how many by that and bin, in one number."""

    __slots__ = ("bins", "counts")

    def __init__(self) -> None:
        self.counts: dict[int, list[int]] = {}
        self.bins: dict[int, int] = {}

    def of(self, number: int) -> list[int]:
        counts = self.counts.get(number)
        if counts is None:
            counts = self.counts[number] = list(_NOTHING)
        return counts

    def add(self, other: _Sums) -> None:
        for number, counts in other.counts.items():
            own = self.of(number)
            for index, value in enumerate(counts):
                own[index] += value
        for key, count in other.bins.items():
            self.bins[key] = self.bins.get(key, 0) + count

    def subtract(self, slot: _Slot) -> None:
        for number, counts in slot.counts.items():
            own = self.counts[number]
            for index, value in enumerate(counts):
                own[index] -= value
            if not own[_COUNT]:
                del self.counts[number]
        for key, count in slot.all_bins():
            self.bins[key] -= count
            if not self.bins[key]:
                del self.bins[key]


class _Slot:
    """What ended within some seconds: what came since it was last settled, and all before that."""

    __slots__ = ("counts", "keys", "numbers", "open")

    def __init__(self) -> None:
        self.open = _Sums()
        self.counts: dict[int, list[int]] = {}
        self.keys, self.numbers = array("I"), array("I")

    def settle(self) -> _Sums:
        """Packs what is open, and hands it out."""
        came, self.open = self.open, _Sums()
        for number, counts in came.counts.items():
            known = self.counts.get(number, _NOTHING)
            self.counts[number] = [one + more for one, more in zip(known, counts, strict=True)]
        self.keys.extend(came.bins)
        self.numbers.extend(came.bins.values())
        return came

    def all_bins(self) -> Iterator[tuple[int, int]]:
        return zip(self.keys, self.numbers, strict=True)


class Durations:
    """Counts of the operations that ended within a sliding window.

    Args:
        table: The table of targets; what is within them and their warnings is counted exactly.

    Attributes:
        earlier: How many ended before the window.
    """

    def __init__(self, table: Targets) -> None:
        self._numbers = {name: number for number, name in enumerate(table.operations)}
        self._known = len(self._numbers)
        self._free = [self._known + number for number in range(MAX_OPERATIONS)]
        self._edges_ns = [
            (whole_ns(row.target_s), whole_ns(row.warning_s)) for row in table.operations.values()
        ]
        self._slots: dict[int, _Slot] = {}
        self._settled = _Sums()
        # Slot and duration of each, of those that are rare.
        self._exact: dict[int, deque[tuple[int, int]]] = {
            number: deque() for number in range(self._known)
        }
        self._first = 0
        self.earlier = 0

    def add(self, ended: EndedOperation) -> None:
        """Counts an operation; one that ended before the window only counts as earlier."""
        at = ended.end_ns // SLOT_NS
        if at < self._first:
            self.earlier += 1
            return
        duration_ns = ended.duration_ns
        number = self._numbers.get(ended.operation)
        if number is None:
            number = self._number(ended.operation)
        slot = self._slots.get(at)
        if slot is None:
            slot = self._slots[at] = _Slot()
        self._count(slot.open.of(number), number, ended)
        if number < 0:
            return
        key = number << _KEY_BITS | _bin(duration_ns)
        bins = slot.open.bins
        bins[key] = bins.get(key, 0) + 1
        exact = self._exact.get(number)
        if exact is not None:
            exact.append((at, duration_ns))
            if len(exact) > MAX_EXACT:
                del self._exact[number]

    def _count(self, counts: list[int], number: int, ended: EndedOperation) -> None:
        counts[_COUNT] += 1
        counts[_TOTAL_NS] += ended.duration_ns
        if ended.failed:
            counts[_ERRORS] += 1
        if 0 <= number < self._known:
            target_ns, warning_ns = self._edges_ns[number]
            if ended.duration_ns <= warning_ns:
                counts[_UNDER_WARNING] += 1
                if ended.duration_ns <= target_ns:
                    counts[_UNDER_TARGET] += 1

    def move_on(self, since_ns: int) -> None:
        """Drops the slots before the one of that time."""
        self._first = max(self._first, since_ns // SLOT_NS)
        current = max(self._first, max(self._slots, default=0))
        for at, slot in list(self._slots.items()):
            if at < current and slot.open.counts:
                self._settled.add(slot.settle())
            if at < self._first:
                self._forget(self._slots.pop(at))
        for exact in self._exact.values():
            while exact and exact[0][0] < self._first:
                exact.popleft()

    def summaries(self) -> list[Summary]:
        """Each operation that ended in the window, by name; without those left out."""
        sums = self._sums()
        bins: dict[int, list[tuple[int, int]]] = {}
        for key, count in sums.bins.items():
            bins.setdefault(key >> _KEY_BITS, []).append((key & _KEY_MASK, count))
        found = []
        for name, number in sorted(self._numbers.items()):
            counts = sums.counts.get(number)
            if counts is None:
                continue
            p50_ns, p95_ns, p99_ns = self._percentiles(number, counts, bins[number])
            found.append(
                Summary(
                    operation=name,
                    count=counts[_COUNT],
                    errors=counts[_ERRORS],
                    p50_s=p50_ns / NS_PER_S,
                    p95_s=p95_ns / NS_PER_S,
                    p99_s=p99_ns / NS_PER_S,
                    under_target=counts[_UNDER_TARGET] if number < self._known else None,
                )
            )
        return found

    def work(self, since_ns: int) -> list[Work]:
        """Each operation that ended then or later, by slots; those left out under one name."""
        sums = _Sums()
        for at, slot in self._slots.items():
            if at >= since_ns // SLOT_NS:
                for counts in (slot.counts, slot.open.counts):
                    part = _Sums()
                    part.counts = counts
                    sums.add(part)
        names = {number: name for name, number in self._numbers.items()}
        return [
            Work(
                operation=names.get(number, LEFT_OUT),
                count=counts[_COUNT],
                errors=counts[_ERRORS],
                total_s=counts[_TOTAL_NS] / NS_PER_S,
            )
            for number, counts in sums.counts.items()
        ]

    def _sums(self) -> _Sums:
        sums = _Sums()
        sums.add(self._settled)
        for slot in self._slots.values():
            sums.add(slot.open)
        return sums

    def _number(self, operation: str) -> int:
        if not self._free:
            return _LEFT_OUT_NUMBER
        number = self._numbers[operation] = self._free.pop()
        self._exact[number] = deque()
        return number

    def _forget(self, slot: _Slot) -> None:
        """Drops a settled slot."""
        self._settled.subtract(slot)
        self.earlier += sum(counts[_COUNT] for counts in slot.counts.values())
        gone = slot.counts.keys() - self._settled.counts.keys()
        if not gone:
            return
        still = set().union(*(other.open.counts for other in self._slots.values()))
        for name, number in list(self._numbers.items()):
            if number in gone and number not in still:
                self._exact[number] = deque()
                if number >= self._known:
                    del self._numbers[name], self._exact[number]
                    self._free.append(number)

    def _percentiles(
        self, number: int, counts: list[int], bins: list[tuple[int, int]]
    ) -> tuple[int, ...]:
        """Nearest-rank, as `spans.summaries` has it."""
        count = counts[_COUNT]
        ranks = [max(1, -(-count * percent // 100)) for percent in (50, 95, 99)]
        exact = self._exact.get(number)
        if exact is not None and len(exact) == count:
            durations = sorted(duration_ns for _, duration_ns in exact)
            return tuple(durations[rank - 1] for rank in ranks)
        bins.sort()
        return tuple(self._within_edges(number, counts, rank, _at(bins, rank)) for rank in ranks)

    def _within_edges(self, number: int, counts: list[int], rank: int, found_ns: int) -> int:
        if number < self._known:
            unders = islice(counts, _UNDER_TARGET, None)
            for edge_ns, under in zip(self._edges_ns[number], unders, strict=True):
                found_ns = min(found_ns, edge_ns) if rank <= under else max(found_ns, edge_ns + 1)
        return found_ns


def _bin(duration_ns: int) -> int:
    """The powers of two above the first 128 durations, each cut into 64; in order."""
    shift = duration_ns.bit_length() - _BIN_BITS - 1
    return duration_ns if shift <= 0 else (shift << _BIN_BITS) + (duration_ns >> shift)


def _middle_ns(number: int) -> int:
    shift = max(0, (number >> _BIN_BITS) - 1)
    lowest_ns = (number - (shift << _BIN_BITS)) << shift
    return lowest_ns + ((1 << shift) - 1) // 2


def _at(bins: list[tuple[int, int]], rank: int) -> int:
    """The duration of that rank, as the middle of its bin."""
    found = 0
    for found, count in bins:  # noqa: B007 - the one that it stops at
        rank -= count
        if rank <= 0:
            break
    return _middle_ns(found)
