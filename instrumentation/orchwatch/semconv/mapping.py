"""Which span of which program is which operation: the table in `mapping.toml`, typed.

What follows from it elsewhere: the Collector's `transform/agents`, and what the SDK's exporters
make of the spans that another instrumentation records in a program of ours.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("mapping.toml")

OTHER = "other"
"""The type of an error that has none, or one that is no word."""

WORD = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,63}$"
"""What may be the type of an error, or the name of an event: no message."""

MAX_CHARS = 256
"""Of a text that is kept: no name or id is longer."""

METADATA, NODE = "metadata", "langgraph_node"
"""Where OpenInference has LangGraph's name of a node, as JSON."""

NAMED_BY_SPAN = (semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_TOOL_NAME)
"""What a span's own name may stand for."""

OWN_PREFIX = "orchestration."
"""Attributes that are of ours already, and kept."""


def is_word(value: object) -> bool:
    """Whether it is a text that `WORD` allows."""
    return isinstance(value, str) and re.fullmatch(WORD, value) is not None


class Condition(NamedTuple):
    """What must be so of a span; regular expressions, empty where anything will do.

    Attributes:
        service: Of its service's name.
        scope: Of its instrumentation scope's name.
        span: Of its name.
        attribute: Of attributes' values, by key.
        has: Attributes that must be there.
        lacks: Attributes that must not.
        root: Whether it has no parent; None where that does not matter.
        failed: Whether its status is an error; None where that does not matter.
        node: It must be the one that LangGraph calls by the name of a node.
    """

    service: str = ""
    scope: str = ""
    span: str = ""
    attribute: Mapping[str, str] = {}
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    root: bool | None = None
    failed: bool | None = None
    node: bool = False


class Kind(NamedTuple):
    """What a kind of span is called here.

    Attributes:
        name: The kind.
        operation: The operation; empty where none is counted.
        genai: `gen_ai.operation.name`, empty where it has none.
        named_by: The attribute that follows that, or the operation, in the span's name.
        error: The type of a failure that names none.
    """

    name: str
    operation: str = ""
    genai: str = ""
    named_by: str = ""
    error: str = OTHER


class Rule(NamedTuple):
    """Which spans are of a kind.

    Attributes:
        kind: It; None for spans that are of none.
        when: Which they are.
        unknown: A status that is no error says nothing.
        sent_only: No file of its sessions tells of them.
        below_turn: What lies between it and its turn is left out.
    """

    kind: Kind | None
    when: Condition
    unknown: bool = False
    sent_only: bool = False
    below_turn: bool = False


class Emitter(NamedTuple):
    """A program, or a convention that many programs follow: see `mapping.toml`."""

    name: str
    conditions: tuple[Condition, ...]
    rules: tuple[Rule, ...]
    reader: bool = False
    drops_internal: bool = False
    cached_apart: bool = False
    usage_apart: bool = False
    outcomes: Mapping[str, Mapping[str, str]] = {}
    failure: Mapping[str, str] = {}
    events: Mapping[str, tuple[str, ...]] = {}
    main_agent: str = ""
    one_trace: bool = False
    named_by_span: bool = False
    kept: tuple[str, ...] = ()


class Table(NamedTuple):
    """The whole of it.

    Attributes:
        kinds: Of spans, by name.
        emitters: The first that a span is of is the one.
        attributes: By attribute of ours, others that hold the same; the first one holds.
        milliseconds: The same, where the other one is in milliseconds and ours in seconds.
        kept: Attributes that stay as they are.
        lists: The same, which may be lists.
    """

    kinds: Mapping[str, Kind]
    emitters: tuple[Emitter, ...]
    attributes: Mapping[str, tuple[str, ...]]
    milliseconds: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...]
    lists: tuple[str, ...]

    def kept_of(self, emitter: Emitter) -> tuple[str, ...]:
        """All attributes that a span of that emitter keeps, unless they are lists or maps."""
        return (*self.attributes, *self.milliseconds, *self.kept, *emitter.kept)


@cache
def load() -> Table:
    """The table as shipped."""
    document = tomllib.loads(FILE.read_text("utf-8"))
    kinds = {name: Kind(name, **row) for name, row in document["kinds"].items()}
    return Table(
        kinds,
        tuple(_emitter(kinds, row) for row in document["emitters"]),
        _tuples(document["attributes"]),
        _tuples(document["milliseconds"]),
        tuple(document["kept"]["keys"]),
        tuple(document["kept"]["lists"]),
    )


def _emitter(kinds: Mapping[str, Kind], row: dict[str, Any]) -> Emitter:
    return Emitter(
        name=row.pop("name"),
        conditions=tuple(_condition(one) for one in row.pop("is")),
        rules=tuple(_rule(kinds, one) for one in row.pop("rules")),
        drops_internal=row.pop("internal", "") == "drop",
        events=_tuples(row.pop("events", {})),
        kept=tuple(row.pop("kept", ())),
        **row,
    )


def _rule(kinds: Mapping[str, Kind], row: dict[str, Any]) -> Rule:
    name = row.pop("kind")
    return Rule(
        kinds[name] if name else None,
        unknown=row.pop("outcome", "") == "unknown",
        sent_only=row.pop("sent_only", False),
        below_turn=row.pop("below_turn", False),
        when=_condition(row),
    )


def _condition(row: dict[str, Any]) -> Condition:
    lists: dict[str, Any] = {key: tuple(row[key]) for key in ("has", "lacks") if key in row}
    return Condition(**{**row, **lists})


def _tuples(rows: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(row) for key, row in rows.items()}
