"""What the segments of a query do: plain loops over values, which are not copied.

The library wraps every value that it passes in a node with its location. Without that, names,
wildcards and comparisons on 500 tasks take less than a tenth of the time.
"""

from __future__ import annotations

import operator

from orchwatch.runtime import query_syntax as syntax
from orchwatch.runtime.state_reader import MISSING

TYPE_CHECKING = False  # as in `query_syntax`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from orchwatch.runtime.query_syntax import Segment, Test
    from orchwatch.runtime.state_paths import Keys

    Nodes = list[Any]
    Select = Callable[[Nodes], Nodes]
    Predicate = Callable[[Any], bool]

NUMBERS = frozenset({int, float})
CONTAINERS = frozenset({dict, list})
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Step:
    """One segment of a path.

    Attributes:
        select: The values that it selects from those before it.
        examines: How many it looks at for that.
    """

    __slots__ = ("examines", "select")

    def __init__(self, select: Select, examines: Callable[[Nodes], int]) -> None:
        self.select = select
        self.examines = examines


class Equality:
    """A filter that lets through only children with one value of a member.

    Attributes:
        names: The member, from the child on.
        value: What it must be equal to: text, a number, a truth value or null.
        holds: The whole filter, which may ask for more.
    """

    __slots__ = ("holds", "names", "value")

    def __init__(self, names: Keys, value: Any, holds: Predicate) -> None:
        self.names = names
        self.value = value
        self.holds = holds


def step(segment: Segment) -> Step:
    """The loop of one segment."""
    deep, kind, argument = segment
    direct = _selection(kind, argument)
    if not deep:
        return direct

    def select(nodes: Nodes) -> Nodes:
        return [
            found for node in nodes for each in containers(node) for found in direct.select([each])
        ]

    def examines(nodes: Nodes) -> int:
        return sum(direct.examines([each]) for node in nodes for each in containers(node))

    return Step(select, examines)


def base(segments: Iterable[Segment]) -> Keys:
    """The names that a query begins with."""
    names = []
    for deep, kind, argument in segments:
        if deep or kind != syntax.NAME:
            break
        names.append(argument)
    return tuple(names)


def search(segment: Segment | None) -> str | None:
    """The name that a segment looks for at any depth."""
    if segment is None or not segment[0] or segment[1] != syntax.NAME:
        return None
    return str(segment[2])


def needed(segments: Sequence[Segment]) -> tuple[str, ...] | None:
    """The names without which a member is of no account to segments; None where every one counts.

    What a query selects last by its name is all below that name, and whatever leads there is an
    object, an array or a member that a filter asks for.
    """
    if not segments or segments[-1][1] != syntax.NAME:
        return None
    names = set()
    for _deep, kind, argument in segments:
        if kind == syntax.NAME:
            names.add(argument)
        elif kind == syntax.FILTER:
            names |= _named(argument)
    return tuple(names)


def equality(segment: Segment | None) -> Equality | None:
    """What a segment's filter asks a member to be equal to, alone or with what else it asks."""
    if segment is None or segment[0] or segment[1] != syntax.FILTER:
        return None
    for part in _conjuncts(segment[2]):
        if part[0] == syntax.COMPARES and part[1] and part[2] == "==":
            return Equality(part[1], part[3], _predicate(segment[2]))
    return None


def walk(steps: Iterable[Step], nodes: Nodes) -> Nodes:
    """The values that steps lead to."""
    for each in steps:
        nodes = each.select(nodes)
    return nodes


def examined(steps: Iterable[Step], nodes: Nodes) -> int:
    """How many values steps look at on their way."""
    number = 0
    for each in steps:
        number += each.examines(nodes)
        nodes = each.select(nodes)
    return number


def member(value: Any, names: Keys) -> Any:
    """What names lead to below a value; `MISSING` where there is nothing."""
    for name in names:
        if type(value) is not dict or name not in value:
            return MISSING
        value = value[name]
    return value


def containers(node: Any) -> Nodes:
    """The objects and arrays at and below a node, parents first: only they have children."""
    if type(node) not in CONTAINERS:
        return []
    found = [node]
    for child in [child for child in _children(node) if type(child) in CONTAINERS]:
        found += containers(child)
    return found


def _selection(kind: str, argument: Any) -> Step:
    if kind == syntax.NAME:
        return Step(
            lambda nodes: [n[argument] for n in nodes if type(n) is dict and argument in n], len
        )
    if kind == syntax.INDEX:
        return Step(
            lambda nodes: [
                n[argument] for n in nodes if type(n) is list and -len(n) <= argument < len(n)
            ],
            len,
        )
    if kind == syntax.ALL:
        return Step(lambda nodes: [child for node in nodes for child in _children(node)], _width)
    holds = _predicate(argument)
    return Step(lambda nodes: [c for node in nodes for c in _children(node) if holds(c)], _width)


def _conjuncts(test: Test) -> Iterator[Test]:
    if test[0] == syntax.AND:
        yield from _conjuncts(test[1])
        yield from _conjuncts(test[2])
    else:
        yield test


def _named(test: Test) -> set[str]:
    """The members that a test asks for, by the first of their names."""
    if test[0] in (syntax.EXISTS, syntax.COMPARES):
        return set(test[1][:1])
    return {name for part in test[1:] for name in _named(part)}


def _predicate(test: Test) -> Predicate:
    kind, *parts = test
    if kind == syntax.COMPARES:
        return _comparison(*parts)
    if kind == syntax.EXISTS:
        (names,) = parts
        return lambda value: member(value, names) is not MISSING
    first, *more = map(_predicate, parts)
    if kind == syntax.NOT:
        return lambda value: not first(value)
    (second,) = more
    if kind == syntax.AND:
        return lambda value: first(value) and second(value)
    return lambda value: first(value) or second(value)


def _comparison(names: Keys, sign: str, literal: Any) -> Predicate:
    """JSONPath compares values of one kind only, and to it true is no number."""
    kinds = NUMBERS if type(literal) in NUMBERS else frozenset({type(literal)})
    negated = sign == "!="
    compare = _COMPARISONS["==" if negated else sign]

    def holds(value: Any) -> bool:
        found = member(value, names)
        return (type(found) in kinds and compare(found, literal)) is not negated

    def holds_of_one(value: Any) -> bool:
        found = value.get(name, MISSING) if type(value) is dict else MISSING
        return (type(found) in kinds and compare(found, literal)) is not negated

    if len(names) != 1:
        return holds
    (name,) = names
    return holds_of_one


def _children(node: Any) -> Iterable[Any]:
    if type(node) is dict:
        return node.values()
    return node if type(node) is list else ()


def _width(nodes: Nodes) -> int:
    return sum(len(node) for node in nodes if type(node) in CONTAINERS)
