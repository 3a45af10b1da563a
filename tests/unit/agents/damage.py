"""Files as a full disk, a killed process or a failing drive leaves them."""

from __future__ import annotations

import json
import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534  # a user without rights


def damaged(home: Path, seed: int, number: int) -> Iterator[tuple[Path, bytes]]:
    """Files of a home in turn, each cut off or with bits flipped, and what they then hold."""
    chance = random.Random(seed)
    sources = sorted(home.rglob("*.jsonl"))
    for index in range(number):
        source = chance.choice(sources)
        content = bytearray(source.read_bytes())
        if index % 2:
            content = content[: chance.randrange(1, len(content))]
        else:
            for _ in range(chance.randrange(1, 4)):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        yield source, bytes(content)


def unreadable(whole: bytes, content: bytes) -> int:
    """How many lines are neither what they were nor JSON any more."""
    known = set(whole.splitlines())
    return sum(line not in known and not _is_json(line) for line in content.split(b"\n") if line)


def mistyped(records: list[dict[str, Any]], seed: int, number: int) -> Iterator[dict[str, Any]]:
    """Records in which one value has become one of another type."""
    chance = random.Random(seed)
    for _ in range(number):
        record = json.loads(json.dumps(chance.choice(records)))
        holder, key = chance.choice(list(_members(record)))
        holder[key] = chance.choice(
            [None, True, -1, 1e308, "", "\ud800", "x" * 999, [], [[]], [None], {}, {"a": {}}]
        )
        yield record


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in entries:
        yield value, key
        if isinstance(member, dict | list):
            yield from _members(member)


def _is_json(line: bytes) -> bool:
    """Whether it is whole, if not as it was: a damaged letter in a text does no harm."""
    try:
        json.loads(line.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return False
    return True


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may do everything, so it is another user meanwhile."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
