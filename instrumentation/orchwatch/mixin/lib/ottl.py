"""Statements in OTTL, the language of the Collector's `transform`, as lines of YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Group(NamedTuple):
    """Statements of one context, for those of which a condition holds; empty for all."""

    context: str
    condition: str
    statements: Iterable[str]

    def lines(self) -> Iterator[str]:
        """As an element of a YAML list."""
        yield f"- context: {self.context}"
        if self.condition:
            yield "  conditions:"
            yield f"    - {_quoted(self.condition)}"
        yield "  statements:"
        yield from (f"    - {_quoted(statement)}" for statement in self.statements)


def at(key: str) -> str:
    """An attribute of a span."""
    return f"span.attributes[{text(key)}]"


def is_(what: str, value: str) -> str:
    """Whether an attribute of a span is that text."""
    return f"{at(what)} == {text(value)}"


def matches(what: str, pattern: str) -> str:
    """Whether a path, or a text in quotes, holds a regular expression."""
    return f"IsMatch({what}, {text(pattern)})"


def assign(what: str, to: str, *where: str) -> str:
    """Sets a path, where all of that holds."""
    return f"set({what}, {to}){_where(where)}"


def delete(key: str, *where: str) -> str:
    """Takes an attribute from a span."""
    return f"delete_key(span.attributes, {text(key)}){_where(where)}"


def several(key: str) -> str:
    """Whether an attribute of a span is a list or a map."""
    return f"(IsMap({at(key)}) or IsList({at(key)}))"


def dotted(key: str) -> str:
    """A key, in a regular expression."""
    return key.replace(".", "[.]")


def texts(values: Iterable[str]) -> str:
    """A list of texts."""
    return f"[{', '.join(map(text, values))}]"


def text(value: str) -> str:
    """A text in quotes: Go reads what JSON writes."""
    return json.dumps(value)


def _where(conditions: Iterable[str]) -> str:
    holds = " and ".join(conditions)
    return f" where {holds}" if holds else ""


def _quoted(statement: str) -> str:
    doubled = statement.replace("'", "''")
    return f"'{doubled}'"
