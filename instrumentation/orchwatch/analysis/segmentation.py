"""A series of numbers, cut where its level changes, by `ruptures`: the one user of that extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

try:
    import numpy as np
    import ruptures
except ImportError as error:
    raise OrchwatchError(
        f"change points need ruptures ({error}): pip install 'orchwatch[history]',"
        " on Python 3.14 ruptures itself"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence


def cut(values: Sequence[float], penalty: float, *, shortest: int) -> list[int]:
    """Where stretches of one level begin, but for the first.

    Args:
        values: The series, in units of its noise.
        penalty: How much closer to its values a further level must be, as a sum.
        shortest: So many values a stretch has at least.
    """
    search = ruptures.Pelt(model="l1", min_size=shortest, jump=1)
    *places, _ = search.fit_predict(np.array(values).reshape(-1, 1), pen=penalty)
    return [int(place) for place in places]
