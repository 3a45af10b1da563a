"""What many processes at once came to, and what grew under a steady load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchwatch.analysis.benchmark_runs import Run
    from orchwatch.analysis.comparison import Change


@dataclass(frozen=True, kw_only=True)
class Load:
    """What many processes at once came to.

    Attributes:
        run: The figures of all of them together; `state.increment` is the number that they share.
        processes: How many there were.
        rate: Operations a second that they were to begin together; 0 for as many as they could.
        start_s: Seconds from the request until all of them were ready, before that time.
        duration_s: For how long.
        late: How many operations began later than the next one was due.
        acknowledged: How many writes to what they share were acknowledged.
        lost: How many of these are not there in the end.
    """

    run: Run
    processes: int
    rate: float
    start_s: float
    duration_s: float
    late: int
    acknowledged: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A quantity over the time of a stress.

    Attributes:
        name: `memory`, `open files` or `storage`.
        unit: `By` or `{file}`.
        before: Its median early on, after what warms up.
        after: Its median at the end.
        per_hour: How much it grew, for an hour of the same.
        grew: Whether that is more than it varies anyway; storage always may.
    """

    name: str
    unit: str
    before: float
    after: float
    per_hour: float
    grew: bool


@dataclass(frozen=True, kw_only=True)
class Stress:
    """What a steady load came to.

    Attributes:
        load: Its figures as a whole.
        drift: For each operation, its time at the end against its time early on.
        growth: Memory, open files and storage.
    """

    load: Load
    drift: tuple[Change, ...]
    growth: tuple[Growth, ...]

    @property
    def grew(self) -> tuple[str, ...]:
        """What grew that should not: operations that became slower, memory, open files."""
        slower = [change.operation for change in self.drift if change.verdict == "regression"]
        return (*slower, *(one.name for one in self.growth if one.grew and one.name != "storage"))
