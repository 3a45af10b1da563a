"""JSON that is safe to show on a terminal and parses to the exact values."""

from __future__ import annotations

from math import isfinite

from orchwatch.recording import json_text

TYPE_CHECKING = False  # as in `recording`: some commands answer faster than more could be imported
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

_NS_PER_S = 1_000_000_000
_FIRST_BEYOND_16_BITS = 0x10000


SCHEMA_VERSION = "schema_version"
"""The key; docs/json.md says when a version is raised."""

_VERSIONS: dict[str, int] = {}
"""By command, of those whose keys are no longer what they were at first."""


def version(command: str) -> int:
    """Of the keys that a command answers with."""
    return _VERSIONS.get(command, 1)


def answer(command: str, document: object, file: TextIO, *, indent: int | None = 2) -> None:
    """Writes what a command answers with, as `render` does, and the version of its keys.

    Args:
        command: Such as `trace diff`.
        document: An object, or a list of objects, each of which says its version.
        file: Where to.
        indent: As of `render`.
    """
    render(versioned(command, document), file, indent=indent)


def versioned(command: str, document: Any) -> Any:
    """A document with the version of its keys, which stands first."""
    if isinstance(document, list):
        return [versioned(command, one) for one in document]
    return {SCHEMA_VERSION: version(command), **document}


def render(value: object, file: TextIO, *, indent: int | None = 2) -> None:
    r"""Writes a value and a newline; what is not printable is written as `\uXXXX`.

    Infinity and NaN, which JSON has no word for, become null. Where the file cannot hold every
    character (`LC_ALL=C`), all but ASCII is escaped.
    """
    file.write(dumps(value, indent=indent, ascii_only=ascii_only(file)) + "\n")


def ascii_only(file: TextIO) -> bool:
    """Whether a file cannot hold every character."""
    encoding = (getattr(file, "encoding", None) or "utf-8").lower().replace("-", "")
    return encoding != "utf8"


def moment(time_ns: int) -> str:
    """Unix nanoseconds in ISO 8601."""
    from datetime import UTC, datetime  # noqa: PLC0415 - not every document has one

    found = datetime.fromtimestamp(time_ns / _NS_PER_S, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dumps(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """The text of it."""
    try:
        text = _text(value, indent, ascii_only=ascii_only)
    except ValueError:
        text = _text(_finite(value), indent, ascii_only=ascii_only)
    return "\n".join(map(_printable, text.split("\n")))


def _text(value: object, indent: int | None, *, ascii_only: bool) -> str:
    if indent is None:
        return json_text.dumps(value, ascii_only=ascii_only)
    import json  # noqa: PLC0415 - slow

    return json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(_escapes(line))


def _escapes(line: str) -> Iterable[str]:
    """Outside of strings JSON has nothing that is not printable."""
    for letter in line:
        number = ord(letter)
        if letter.isprintable():
            yield letter
        elif number < _FIRST_BEYOND_16_BITS:
            yield f"\\u{number:04x}"
        else:
            units = letter.encode("utf-16-be").hex()
            yield f"\\u{units[:4]}\\u{units[4:]}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
