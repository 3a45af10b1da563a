"""What PromQL is written with: names of series, numbers, durations."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from orchwatch import semconv

OPERATION: Final = semconv.OPERATION_NAME.replace(".", "_")
# Enough for a nanosecond and for eleven nines, and too few for binary noise.
DECIMALS: Final = 12
_SUFFIXES: Final = {
    "1": "",
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_PER: Final = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}
# For how long a report may have been missing before all that it counts is taken for new.
_REMEMBERED: Final = "1h"
_REPORTED_WITHIN: Final = "1d"
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def series(name: str, unit: str, *, counter: bool = False) -> str:
    """The name that Prometheus gives an OTLP metric: its unit and `total` become suffixes.

    Source: Prometheus' OTLP translation, UnderscoreEscapingWithSuffixes.
    """
    if unit == "1":
        suffixes = [] if counter else ["ratio"]
    else:
        whole, _, per = unit.partition("/")
        suffixes = [_suffix(whole, _SUFFIXES)]
        if _suffix(per, _PER):
            suffixes.append(f"per_{_suffix(per, _PER)}")
    words = _underscored(name)
    for suffix in [*suffixes, "total" if counter else ""]:
        if suffix and not words.endswith(f"_{suffix}"):
            words += f"_{suffix}"
    return words


def _suffix(unit: str, known: dict[str, str]) -> str:
    """A unit in braces is a word for people; an unknown one stays as it is."""
    return "" if "{" in unit else known.get(unit, _underscored(unit))


def _underscored(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "_", name).strip("_")


DURATION: Final = series(semconv.OPERATION_DURATION, "s")


def number(value: float) -> str:
    """As Prometheus spells an edge's `le`, and without binary noise: `1`, `0.075`."""
    text = f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return text or "0"


def seconds(duration: str) -> int:
    """A duration such as `15m` in seconds.

    Raises:
        ValueError: It is not one whole number with one unit.
    """
    found = re.fullmatch(r"([1-9]\d*)([smhd])", duration)
    if found is None:
        raise ValueError(f"must be a duration such as 15m, not {duration!r}")
    return int(found[1]) * _UNITS_S[found[2]]


def counted(counter: str, window: str) -> str:
    """What a counter counted in a window, to the unit: `increase` extrapolates.

    Of a session of a second, whose series has two samples, that makes one and a half times what was
    counted. Here it is the newest value without the one before the window, or all of it where the
    series began in there, or began again.
    """
    now = f"last_over_time({counter}[{window}])"
    before = f"last_over_time({counter}[{_REMEMBERED}] offset {window})"
    return f"{now} - ({before} <= {now} or {now} * 0)"


def at_ends(counter: str, window: str, by: str = "") -> str:
    """The same of a counter that is still reported, from its values at the window's two ends.

    A month of samples would be read to follow it in between.

    Args:
        counter: The series.
        window: The window.
        by: `by (…) ` with a blank, for a sum of each.
    """
    before = f"{counter} offset {window}"
    return f"sum {by}({counter} - ({before} <= {counter} or {counter} * 0))"


def grown(counter: str, window: str) -> str:
    """The same of a counter that outlives its process and is reported when it changes.

    It is reported twice a day at least, so what it was before the window is found within a day
    before. Where it is not, nobody reported it, and the first report says what it was: 0 where it
    began in the window. `increase` would extrapolate from the few reports there are.
    """
    now = f"last_over_time({counter}[{window}])"
    before = f"last_over_time({counter}[{_REPORTED_WITHIN}] offset {window})"
    return f"{now} - ({before} <= {now} or min_over_time({counter}[{window}]))"


def all_of(*conditions: str) -> str:
    """What answers the first condition where every other one holds too."""
    return "(\n" + indented("\nand ".join(conditions)) + "\n)"


def indented(expr: str) -> str:
    """Each line of it, as within brackets."""
    return textwrap.indent(expr, "  ")


def text(value: str) -> str:
    """A label's value in double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def selector(**labels: str) -> str:
    """`{a="b"}`; `operation` stands for the long name of the operation's label."""
    pairs = [
        f"{OPERATION if name == 'operation' else name}={text(value)}"
        for name, value in labels.items()
    ]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def one_of(values: list[str]) -> str:
    """A selector of the operations with these names."""
    pattern = "|".join(re.escape(value).replace("\\-", "-") for value in values)
    return f"{{{OPERATION}=~{text(pattern)}}}"


def duration(seconds_: int) -> str:
    """Seconds in the largest unit that they fill, e.g. `10m`."""
    unit, unit_s = max(
        ((name, size_s) for name, size_s in _UNITS_S.items() if seconds_ % size_s == 0),
        key=lambda one: one[1],
    )
    return f"{seconds_ // unit_s}{unit}"


def words(name: str) -> list[str]:
    """The words of an id, e.g. of `session.memory`."""
    return [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
