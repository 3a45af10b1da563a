"""What a row of the table is for Grafana: its limits, its unit, and digits that a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchwatch.targets.target_table import LevelTarget

if TYPE_CHECKING:
    from orchwatch.targets.target_table import Direction, OperationTarget

SECONDS: Final = "s"
NANOSECONDS: Final = "ns"
MILLISECONDS: Final = "ms"
SHARE: Final = "percentunit"
BYTES: Final = "bytes"
NUMBER: Final = "short"
COUNT: Final = "locale"
SINCE: Final = "dateTimeFromNow"
# Short, as many stand in a narrow column; the year is that of the time range.
MOMENT: Final = "time:MM-DD HH:mm:ss"
BYTES_A_SECOND: Final = "binBps"
DOLLARS: Final = "currencyUSD"

# UCUM, as the table has it, to Grafana's names.
_UNITS: Final = {"1": SHARE, "By": BYTES, "s": SECONDS}


class Limits(NamedTuple):
    """Where a row's colours begin, and how its values are written."""

    target: float
    warning: float
    direction: Direction
    unit: str
    decimals: int | None


def limits(row: LevelTarget | OperationTarget) -> Limits:
    """Of a row of the table."""
    if not isinstance(row, LevelTarget):
        return Limits(row.target_s, row.warning_s, "below", SECONDS, None)
    unit = _UNITS.get(row.unit, COUNT)
    # What is no share has three digits, which is what Grafana shows unasked. Of shares, 99.9 % and
    # 0.1 % need the third decimal to be told from what just misses them.
    decimals = None if unit != SHARE else 3 if row.group == "reliability" else 1
    return Limits(row.target, row.warning, row.direction, unit, decimals)
