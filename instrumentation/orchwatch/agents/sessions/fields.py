"""Members of foreign JSON, taken as the type they should have or not at all."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WORD = re.compile(r"[\w.:/-]{1,64}")
# How keys begin that a directory may be named after; the Collector masks whole ones.
_KEY = re.compile(
    r"(?:sk|pk|rk)[-_]|gh[oprsu]_|github_pat_|glpat-|xox[abeoprs]-|AKIA|ASIA|AIza|ya29\.|eyJ"
    r"|(?:npm|hf|rubygems)_[A-Za-z0-9]{20}"
)
_MAX_LENGTH = 256
_MAX_COUNT = 1 << 53
_LATEST_NS = 4_102_444_800 * 1_000_000_000  # the year 2100: later ones are no times
# Of people: `/home/ada`, `/Users/ada`, `C:\\Users\\ada`.
_HOMES = ("home", "Users")
_IN_ROOT = 2
_NOTHING: dict[str, Any] = {}


def mapping(value: object) -> dict[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else _NOTHING


def text(value: object) -> str:
    """A short text such as an id or a name, or an empty one.

    Half of a surrogate pair, which JSON and file names may hold, becomes a question mark: neither
    a database nor a span takes it.
    """
    if not isinstance(value, str):
        return ""
    if value.isascii():  # as nearly all
        return value[:_MAX_LENGTH]
    return value[:_MAX_LENGTH].encode("utf-8", "replace").decode()


def project_name(directory: object) -> str:
    """What a directory's path on any system ends in.

    Empty if that is nothing, the name of a person (their home), or looks like a key.
    """
    if not isinstance(directory, str):
        return ""
    *above, name = re.split(r"[/\\]", directory.rstrip("/\\"))
    if _KEY.match(name) or (len(above) == _IN_ROOT and above[-1] in _HOMES):
        return ""
    return text(name)


def word(value: object) -> str:
    """One word, which cannot be a sentence or hold a secret, or an empty str."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def count(value: object) -> int:
    """A whole number of 0 or more."""
    if type(value) is int and 0 <= value <= _MAX_COUNT:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return 0
    return int(min(value, _MAX_COUNT))


def milliseconds(value: object) -> int | None:
    """A duration given in milliseconds, in nanoseconds; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return int(min(value, _MAX_COUNT / 1_000_000) * 1_000_000)


def moment_ns(value: object) -> int:
    """A Unix time in milliseconds, in nanoseconds; 0 where there is none."""
    found = count(value) * 1_000_000
    return found if found < _LATEST_NS else 0


def time_ns(value: object) -> int | None:
    """An ISO 8601 time in Unix nanoseconds; one without a zone is UTC."""
    return _time_ns(value) if isinstance(value, str) else None


@lru_cache(maxsize=64)  # a line's is asked for to order the lines, and when it is read
def _time_ns(value: str) -> int | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = (moment - _EPOCH) // _MICROSECOND * 1000
    return since if 0 < since < _LATEST_NS else None


def digest(content: object) -> str:
    """A digest that identifies a text without revealing it; empty for no text."""
    if isinstance(content, list) and content:
        content = mapping(content[0]).get("text")
    if not isinstance(content, str) or not content:
        return ""
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]
