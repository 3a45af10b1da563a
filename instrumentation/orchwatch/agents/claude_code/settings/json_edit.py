"""Changes to a JSON text that leave every other character as it is.

Parsing and writing back would lose what JSON does not mean: line breaks, spelling of numbers,
escapes, keys that come twice. So only the parts around a change are looked at, and the change is
made in the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_WHITESPACE = " \t\n\r"
_DEFAULT_INDENT = "  "
_decoder = json.JSONDecoder()


@dataclass(frozen=True)
class Part:
    """A member of an object or an element of an array, and where it stands in the text.

    Attributes:
        key: The member's key; None for an element.
        start: Where it starts, with its key.
        value_start: Where its value starts.
        end: Where it ends.
        value: The parsed value.
    """

    key: str | None
    start: int
    value_start: int
    end: int
    value: Any


@dataclass(frozen=True)
class Edit:
    """Characters to be replaced."""

    start: int
    end: int
    text: str


def parse(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is not JSON; the message says where.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def root(text: str) -> Part:
    """The whole of a text that `parse` has accepted."""
    start = _skip(text, 0)
    value, end = _decoder.raw_decode(text, start)
    return Part(None, start, start, end, value)


def parts(text: str, container: Part) -> list[Part]:
    """The members of an object or the elements of an array, in order."""
    found: list[Part] = []
    position = _skip(text, container.value_start + 1)
    while text[position] not in "}]":
        key, start = None, position
        if isinstance(container.value, dict):
            key, position = _decoder.raw_decode(text, position)
            position = _skip(text, _skip(text, position) + 1)
        value, end = _decoder.raw_decode(text, position)
        found.append(Part(key, start, position, end, value))
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def member(text: str, container: Part, key: str) -> Part | None:
    """The member that counts: the last one of that key."""
    return next((part for part in reversed(parts(text, container)) if part.key == key), None)


def insertion(text: str, container: Part, values: dict[str, Any] | list[Any]) -> Edit:
    """Adds members or elements after the last one, laid out as the ones before them are."""
    existing = parts(text, container)
    unit = _indent_unit(text)
    if existing:
        before = text[container.value_start + 1 : existing[0].start]
        indent = before.rpartition("\n")[2] if "\n" in before else None
        start, end, opening = existing[-1].end, existing[-1].end, ","
    else:
        indent = None if unit is None else _line_indent(text, container.value_start) + unit
        start, end, opening = container.value_start + 1, container.end - 1, ""
    if indent is None:
        items = _render(text, values, None)
        comma = ", " if _is_spaced(text) else ","
        return Edit(start, end, (comma if opening else "") + comma.join(items))
    items = [item.replace("\n", f"\n{indent}") for item in _render(text, values, unit)]
    block = f"{opening}\n{indent}" + f",\n{indent}".join(items)
    if not existing:
        block += f"\n{_line_indent(text, container.value_start)}"
    return Edit(start, end, block.replace("\n", "\r\n") if "\r\n" in text else block)


def prefixing(text: str, array: Part, values: list[Any]) -> Edit:
    """Adds elements before the first one, laid out as that one is."""
    existing = parts(text, array)
    if not existing:
        return insertion(text, array, values)
    start = existing[0].start
    between = text[array.value_start + 1 : start] or (" " if _is_spaced(text) else "")
    items = [f"{_dump(text, value, None)},{between}" for value in values]
    return Edit(start, start, "".join(items))


def removals(text: str, container: Part, indexes: Collection[int]) -> list[Edit]:
    """Takes out members or elements; what `insertion` added goes without a trace."""
    existing = parts(text, container)
    kept = [index for index in range(len(existing)) if index not in indexes]
    if not kept:
        return [Edit(container.value_start + 1, container.end - 1, "")]
    return [
        Edit(existing[index].start, existing[index + 1].start, "")
        if index < kept[0]
        else Edit(existing[index - 1].end, existing[index].end, "")
        for index in sorted(indexes)
    ]


def replacement(text: str, part: Part, value: Any) -> Edit:
    """Puts another value, on one line, in a part's place."""
    return Edit(part.value_start, part.end, _dump(text, value, None))


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with all the edits made; they must not overlap."""
    pieces: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        pieces += (text[position : edit.start], edit.text)
        position = edit.end
    return "".join(pieces) + text[position:]


def _render(text: str, values: dict[str, Any] | list[Any], unit: str | None) -> list[str]:
    if isinstance(values, list):
        return [_dump(text, value, unit) for value in values]
    return [
        f"{_dump(text, key, None)}{':' if unit is None and not _is_spaced(text) else ': '}"
        f"{_dump(text, value, unit)}"
        for key, value in values.items()
    ]


def _dump(text: str, value: Any, unit: str | None) -> str:
    colon, comma = (": ", ", ") if _is_spaced(text) else (":", ",")
    separators = (comma, colon) if unit is None else (",", ": ")
    dumped = json.dumps(value, ensure_ascii=False, indent=unit, separators=separators)
    try:
        dumped.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can spell
        return json.dumps(value, indent=unit, separators=separators)
    return dumped


def _is_spaced(text: str) -> bool:
    return '": ' in text


def _indent_unit(text: str) -> str | None:
    """What one level is indented by; None where all stands on one line."""
    whole = root(text)
    first = _skip(text, whole.value_start + 1)
    between = text[whole.value_start + 1 : first]
    if "\n" in between:
        return between.rpartition("\n")[2] or _DEFAULT_INDENT
    return _DEFAULT_INDENT if text[first] == "}" else None


def _line_indent(text: str, position: int) -> str:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _WHITESPACE:
        position += 1
    return position


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")
