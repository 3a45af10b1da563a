"""The kind of an API error, from the different members of a line that may hold it."""

from __future__ import annotations

import re
from typing import Any

from orchwatch.agents.sessions.fields import count, mapping, word

_UNKNOWN = "unknown"
_OTHER = "api_error"
# The API's own words inside a message: `529 {"type":"error","error":{"type":"overloaded_error",…`
_TYPE = re.compile(r'"error"\s*:\s*\{\s*"type"\s*:\s*"([\w.-]{1,64})"')
_MAX_MESSAGE_CHARACTERS = 1000


def of_final(line: dict[str, Any]) -> tuple[str, int]:
    """The error of a request that was given up, from the line in its answer's place.

    Returns:
        The kind, and the HTTP status, 0 where there is none.
    """
    status = _status(line.get("apiErrorStatus"))
    category = word(line.get("error"))
    named = word(line.get("apiErrorType")) or ("" if category == _UNKNOWN else category)
    return named or (str(status) if status else "") or category or _OTHER, status


def of_retry(line: dict[str, Any]) -> tuple[str, int]:
    """The same of a request that is tried again."""
    error = mapping(line.get("error"))
    status = _status(error.get("status"))
    inner = mapping(mapping(error.get("error")).get("error"))
    message = error.get("message")
    found = _TYPE.search(message[:_MAX_MESSAGE_CHARACTERS]) if isinstance(message, str) else None
    named = word(inner.get("type")) or (found[1] if found else "") or (str(status or ""))
    cause = mapping(line.get("cause") or error.get("cause")).get("code")
    return named or word(cause) or _OTHER, status


def _status(value: object) -> int:
    status = count(value)
    return status if 100 <= status <= 599 else 0  # noqa: PLR2004 - what HTTP has
