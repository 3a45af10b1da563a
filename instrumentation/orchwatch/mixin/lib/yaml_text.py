"""Plain data as YAML, for the files that are generated: dict, list, str, int, float."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = "# Generated from targets.toml by orchwatch generate: edits are lost."

# What no YAML reader takes for anything but a text; all else is quoted, as JSON is YAML.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./:-]*[A-Za-z0-9_]|[A-Za-z]")
# Several lines, none of them blank or ending in blanks, the first one not indented.
_BLOCK = re.compile(r"[^\s](.*\S)?(\n.*\S)+")
_NO_TEXTS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def document(data: dict[str, Any]) -> str:
    """A generated file: its first line says that it is one."""
    return "\n".join([HEAD, *_lines(data)]) + "\n"


def _lines(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _entry(f"{_scalar(key)}:", value)
    else:
        for item in data:
            first, *rest = _lines(item) if isinstance(item, dict) and item else [_scalar(item)]
            yield f"- {first}"
            yield from (f"  {line}" if line else line for line in rest)


def _entry(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield key
        yield from (f"  {line}" for line in _lines(value))
    elif isinstance(value, str) and _BLOCK.fullmatch(value):
        yield f"{key} |-"
        yield from (f"  {line}" for line in value.split("\n"))
    else:
        yield f"{key} {_scalar(value)}"


def _scalar(value: Any) -> str:
    is_plain = (
        isinstance(value, str)
        and _PLAIN.fullmatch(value)
        and ": " not in value
        and value.lower() not in _NO_TEXTS
    )
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False)
