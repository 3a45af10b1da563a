"""The values of a knob that are tried: the default, then more and less, then onward."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchwatch.targets.knobs import Knob

_STEP = 8


class Search:
    """What was tried of a knob, and what is still to be.

    Args:
        knob: The setting.
        value: What it is.

    Attributes:
        knob: The setting.
        value: The best so far.
        values: What is to be tried, in order.
    """

    def __init__(self, knob: Knob, value: float) -> None:
        self.knob = knob
        self.value = value
        self._tried = {value}
        self.values = self._untried(
            knob.default, _stepped(knob, value, _STEP), _stepped(knob, value, 1 / _STEP)
        )

    def next(self) -> float:
        """The next one to try."""
        candidate = self.values.popleft()
        self._tried.add(candidate)
        return candidate

    def keep(self, candidate: float) -> None:
        """It is better: go on from there."""
        factor = _STEP if candidate > self.value else 1 / _STEP
        self.value = candidate
        self.values = self._untried(_stepped(self.knob, candidate, factor))

    def _untried(self, *values: float) -> deque[float]:
        return deque(value for value in dict.fromkeys(values) if value not in self._tried)


def _stepped(knob: Knob, value: float, factor: float) -> float:
    """The value that many times, within the bounds."""
    wanted = min(max(value * factor, knob.lowest), knob.highest)
    return round(wanted) if knob.is_whole else wanted
