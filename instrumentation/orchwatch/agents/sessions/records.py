"""The records of one line: usually one, but a line may hold several, or damage between them.

A process that is killed while it writes leaves half a record, zeros where the disk had no data
yet, or bytes that are not UTF-8; the next process appends behind it without a newline. None of
that costs the record beside it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

# As `json.loads` without finding out the encoding, and twice where it begins and ends.
_SCAN: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]
_WHITE = " \t\r\n"
_DECODER = json.JSONDecoder(strict=False)  # a control character in a string does no harm
_START = re.compile(r'\{\s*"')
_BLANK = re.compile(r"[\s\0]*")
# Each try may read to the line's end: a line full of starts must not take for ever.
_MAX_TRIES = 1000


def parse(line: bytes, skipped: Counter[str]) -> list[dict[str, Any]]:
    """The JSON objects of a line, in order.

    Args:
        line: With or without its line's end.
        skipped: Counts what could not be read, by reason.
    """
    try:
        text = line.decode("utf-8", "surrogatepass")
        found, end = _SCAN(text, 0)
    except (ValueError, StopIteration, RecursionError):
        return _salvaged(line, skipped)
    if end < len(text) and text[end:].strip(_WHITE):
        return _salvaged(line, skipped)
    if isinstance(found, dict):
        return [found]
    skipped["no JSON object"] += 1
    return []


def _salvaged(line: bytes, skipped: Counter[str]) -> list[dict[str, Any]]:
    text = line.decode("utf-8-sig", "replace")
    found: list[dict[str, Any]] = []
    at, damaged, tries = _past_blank(text, 0), False, 0
    if at == len(text):
        skipped["blank" if text.strip() == "" else "no JSON"] += 1
        return []
    while at < len(text) and tries < _MAX_TRIES:
        tries += 1
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            value, end = None, at
        # Inside a damaged record lie whole objects too.
        if isinstance(value, dict) and (not damaged or _is_record(value)):
            found.append(value)
            at = _past_blank(text, end)
            damaged = False
            continue
        skipped["no JSON"] += not damaged
        damaged = True
        start = _START.search(text, max(end, at + 1))
        at = start.start() if start else len(text)
    return found


def _is_record(value: dict[str, Any]) -> bool:
    """Whether it names its session, or has a time and what happened then."""
    return isinstance(value.get("sessionId"), str) or (
        isinstance(value.get("payload"), dict) and isinstance(value.get("timestamp"), str)
    )


def _past_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
