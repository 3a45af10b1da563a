"""An error budget that is spent too fast: as PromQL, and as traffic for tests of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.mixin.lib.promql import all_of, number
from orchwatch.mixin.rules import samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.mixin.lib.alerting import Settings

_BAD_PER_MINUTE = 10
_ANY_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What an objective allows of a share.

    Attributes:
        objective: The share of good operations that is promised.
        bad_share: PromQL for the share of bad operations in a window.
        bad: PromQL for how many were bad in a window.
    """

    objective: float
    bad_share: Callable[[str], str]
    bad: Callable[[str], str]

    def burns(self, settings: Settings) -> str:
        """In a long window and still in its short one, for any of the pairs."""
        pairs = []
        for burn in settings.burns_for(self.objective):
            allowed = number(burn.bad_share(self.objective))
            conditions = [
                f"{self.bad_share(window)} > {allowed}" for window in (burn.long, burn.short)
            ]
            if self.objective < 1:
                conditions.append(f"{self.bad(burn.long)} >= {settings.bad_operations}")
            pairs.append(all_of(*conditions))
        return "\nor\n".join(pairs)

    def allowed(self) -> str:
        """How many may be bad, as the end of a sentence about how many were."""
        return at_most(1 - self.objective)

    def firing(self, settings: Settings) -> tuple[int, int]:
        """Good and bad operations a minute that burn."""
        least = self._least_bad(settings)
        return _per_minute(min(least * samples.BEYOND, 1) if least else _ANY_SHARE)

    def silent(self, settings: Settings) -> tuple[int, int]:
        """Good and bad operations a minute that do not."""
        return _per_minute(self._least_bad(settings) * samples.SHORT)

    def _least_bad(self, settings: Settings) -> float:
        burns = settings.burns_for(self.objective)
        return min(burn.bad_share(self.objective) for burn in burns)


def at_most(bad_share: float) -> str:
    """`at most 5% should`, or none at all."""
    return f"at most {number(bad_share * 100)}% should" if bad_share else "none should"


def _per_minute(bad_share: float) -> tuple[int, int]:
    if not bad_share:
        return _BAD_PER_MINUTE, 0
    return round(_BAD_PER_MINUTE / bad_share) - _BAD_PER_MINUTE, _BAD_PER_MINUTE
