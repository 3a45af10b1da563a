"""A row of the table as written: typed values, and errors that name file, key and rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from orchwatch.targets.config import ConfigError

if TYPE_CHECKING:
    import re
    from pathlib import Path

_Choice = TypeVar("_Choice", bound=str)

# The Collector stores a histogram's edges in whole nanoseconds, and none of some centuries.
SECONDS_DIGITS = 9
_MAX_S = 86_400
# Values computed from it stay finite, and are written without an exponent.
_MAX_VALUE = 1e18
# Prometheus would take it for the beginning of a template, in annotations and labels alike.
TEMPLATE = "{{"


@dataclass(frozen=True)
class Row:
    """A row and where it stands.

    Attributes:
        file: The file that defines or overrides it.
        table: The table that contains it.
        id: Its name.
        values: As written.
    """

    file: Path
    table: str
    id: str
    values: dict[str, Any]

    def error(self, key: str, rule: str) -> ConfigError:
        """The error for a key, or for the row itself if the key is empty."""
        name = f'{self.table}."{self.id}"'
        return ConfigError(self.file, f"{name}.{key}" if key else name, rule)

    def check_id(self, pattern: re.Pattern[str] | None = None) -> None:
        """Rejects an id that is not printable, or does not have the required form."""
        if not is_line(self.id):
            raise self.error("", f"the id must be one line of printable text without {TEMPLATE}")
        if pattern and not pattern.fullmatch(self.id):
            raise self.error("", "the id must be words of letters and digits, such as cache.hits")

    def check_keys(self, row_type: type) -> None:
        """Rejects keys that a row of this type does not have."""
        known = {field.name for field in fields(row_type)} - {"id", "group"}
        for key in self.values:
            if key not in known:
                raise self.error(key, f"unknown key; known are {', '.join(sorted(known))}")

    def number(self, key: str, *, positive: bool = True) -> float:
        """A finite number, above 0 unless 0 is allowed."""
        value = self.values.get(key)
        if value is None:
            raise self.error(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"must be a number, not {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(key, f"must be a finite number, not {number}")
        if number < 0 or (positive and number == 0):
            raise self.error(key, f"must be {'above 0' if positive else '0 or more'}, not {value}")
        if number > _MAX_VALUE:
            raise self.error(key, f"must be at most {_MAX_VALUE:g}, not {number:g}")
        return number

    def seconds(self, key: str) -> float:
        """A duration in seconds, rounded to the resolution of histogram edges."""
        duration_s = round(self.number(key), SECONDS_DIGITS)
        if not duration_s:
            raise self.error(key, "must be a nanosecond or more")
        if duration_s > _MAX_S:
            raise self.error(key, f"must be at most {_MAX_S}, a day, not {duration_s:g}")
        return duration_s

    def text(self, key: str, default: str | None = None) -> str:
        """One line."""
        value = self.values.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be a string, not {value!r}")
        if not is_line(value):
            raise self.error(key, f"must be one line of printable text without {TEMPLATE}")
        return value

    def choice(self, key: str, choices: tuple[_Choice, ...], default: _Choice | None) -> _Choice:
        """One of several str values."""
        value = self.text(key, default)
        for choice in choices:
            if value == choice:
                return choice
        raise self.error(key, f"must be one of {', '.join(choices)}, not {value!r}")


def is_line(text: str) -> bool:
    """Whether it is printable, and valid in a label and in an annotation."""
    return bool(text.strip()) and text.isprintable() and TEMPLATE not in text
