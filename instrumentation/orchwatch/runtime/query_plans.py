"""How a JSONPath query (RFC 9535) is answered: compiled once, as loops where that is possible."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.errors import OrchwatchError
from orchwatch.runtime.late_import import late

try:
    # Four fifths of what the library takes to import, for the functions `match` and `search`.
    with late("regex"):
        import jsonpath_rfc9535 as jsonpath
        from jsonpath_rfc9535 import filter_expressions as expressions
        from jsonpath_rfc9535 import segments, selectors
except ImportError as error:
    # Its next version can be imported, and has no such module.
    raise OrchwatchError(
        f"queries need jsonpath-rfc9535 1.x ({error}); pip install 'orchwatch[local]'"
    ) from error

from orchwatch.runtime.state_reader import MISSING

if TYPE_CHECKING:
    from orchwatch.runtime.state_paths import Keys

Nodes = list[Any]
Select = Callable[[Nodes], Nodes]
Predicate = Callable[[Any], bool]

TEXT = frozenset({str})
NUMBERS = frozenset({int, float})
CONTAINERS = frozenset({dict, list})
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPILED_QUERIES = 256
_SHOWN_CHARACTERS = 120


class QueryError(OrchwatchError):
    """A path is not JSONPath; the message names the path and what is wrong with it."""


class Step(NamedTuple):
    """One segment of a path.

    Attributes:
        select: The values that it selects from those before it.
        examines: How many it looks at for that.
    """

    select: Select
    examines: Callable[[Nodes], int]


class Equality(NamedTuple):
    """A filter that lets through only children with one value of a member.

    Attributes:
        names: The member, from the child on.
        value: What it must be equal to: text, a number, a truth value or null.
        holds: The whole filter, which may ask for more.
    """

    names: Keys
    value: Any
    holds: Predicate


class Plan(NamedTuple):
    """A compiled path.

    Attributes:
        path: As it was asked.
        base: The names that it begins with.
        reads: The members that its result depends on, with what is above and below them.
        steps: Every segment; None where the library must answer.
        library: The library's own query.
        equality: What the segment after `base` is, if an index can help there.
        search: The name that the segment after `base` looks for at any depth.
    """

    path: str
    base: Keys
    reads: tuple[Keys, ...]
    steps: tuple[Step, ...] | None
    library: jsonpath.JSONPathQuery
    equality: Equality | None
    search: str | None

    @property
    def rest(self) -> tuple[Step, ...]:
        """The segments after the one that an index can answer."""
        return () if self.steps is None else self.steps[len(self.base) + 1 :]

    def select(self, document: Any) -> Nodes:
        """The values in a document; they are not copies.

        Raises:
            QueryError: They lie too deep.
        """
        try:
            if self.steps is None:
                return list(self.library.find(document).values())
            return walk(self.steps, [document])
        except (jsonpath.JSONPathError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise QueryError(f"{shown(self.path)} cannot be answered: {reason}") from error


class _Environment(jsonpath.JSONPathEnvironment):
    max_recursion_depth = 400


_environment = _Environment()


def compiled(path: str) -> Plan:
    """The plan of a path, from memory where the same was asked lately.

    Raises:
        QueryError: It is not JSONPath.
    """
    if not isinstance(path, str):
        raise QueryError(f"{shown(path)} is not JSONPath: it must be a str")
    return _compiled(path)


@lru_cache(maxsize=COMPILED_QUERIES)
def _compiled(path: str) -> Plan:
    try:
        query = _environment.compile(path)
    except (jsonpath.JSONPathError, RecursionError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split("\n", 1)[0].split())
        raise QueryError(f"{shown(path)} is not JSONPath: {reason}") from error
    base = tuple(_base(query))
    steps = [_step(segment) for segment in query.segments]
    direct = tuple(step for step in steps if step is not None)
    is_direct = len(direct) == len(steps)
    after = query.segments[len(base)] if is_direct and len(base) < len(steps) else None
    return Plan(
        path=path,
        base=base,
        reads=tuple(sorted(set(_reads(query)))),
        steps=direct if is_direct else None,
        library=query,
        equality=_equality(after),
        search=_search(after),
    )


def shown(path: object) -> str:
    """A path in a message."""
    text = repr(path)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def walk(steps: Iterable[Step], nodes: Nodes) -> Nodes:
    """The values that steps lead to."""
    for step in steps:
        nodes = step.select(nodes)
    return nodes


def examined(steps: Iterable[Step], nodes: Nodes) -> int:
    """How many values steps look at on their way."""
    number = 0
    for step in steps:
        number += step.examines(nodes)
        nodes = step.select(nodes)
    return number


def _base(query: jsonpath.JSONPathQuery) -> Iterator[str]:
    for segment in query.segments:
        name = _name(segment)
        if name is None or not isinstance(segment, segments.JSONPathChildSegment):
            return
        yield name


def _name(segment: segments.JSONPathSegment) -> str | None:
    if len(segment.selectors) == 1 and isinstance(segment.selectors[0], selectors.NameSelector):
        return segment.selectors[0].name
    return None


def _reads(query: jsonpath.JSONPathQuery, *, relative: bool = False) -> Iterator[Keys]:
    """Where a query begins to look, and where the filters in it do that begin at the top again."""
    if not relative:
        yield tuple(_base(query))
    for segment in query.segments:
        for selector in segment.selectors:
            if isinstance(selector, selectors.FilterSelector):
                yield from _read_by(selector.expression)


def _read_by(expression: expressions.Expression) -> Iterator[Keys]:
    if isinstance(expression, expressions.FilterQuery):
        is_relative = isinstance(expression, expressions.RelativeFilterQuery)
        yield from _reads(expression.query, relative=is_relative)
    elif isinstance(expression, expressions.FilterExpression):
        yield from _read_by(expression.expression)
    elif isinstance(expression, expressions.PrefixExpression):
        yield from _read_by(expression.right)
    elif isinstance(expression, expressions.LogicalExpression | expressions.ComparisonExpression):
        yield from _read_by(expression.left)
        yield from _read_by(expression.right)
    elif isinstance(expression, expressions.FunctionExtension):
        for argument in expression.args:
            yield from _read_by(argument)


def _search(segment: segments.JSONPathSegment | None) -> str | None:
    if isinstance(segment, segments.JSONPathRecursiveDescentSegment):
        return _name(segment)
    return None


def _equality(segment: segments.JSONPathSegment | None) -> Equality | None:
    if not isinstance(segment, segments.JSONPathChildSegment):
        return None
    (selector,) = segment.selectors
    if not isinstance(selector, selectors.FilterSelector):
        return None
    holds = _predicate(selector.expression.expression)
    for part in _conjuncts(selector.expression.expression):
        compared = _compared(part)
        if holds is not None and compared is not None and compared[0] and compared[1] == "==":
            return Equality(compared[0], compared[2], holds)
    return None


def _conjuncts(expression: expressions.Expression) -> Iterator[expressions.Expression]:
    if isinstance(expression, expressions.LogicalExpression) and expression.operator == "&&":
        yield from _conjuncts(expression.left)
        yield from _conjuncts(expression.right)
    else:
        yield expression


def _step(segment: segments.JSONPathSegment) -> Step | None:
    """A plain loop for what most queries are made of; None leaves the query to the library.

    The library wraps every value that it passes in a node with its location. Without that, names,
    wildcards and comparisons on 500 tasks take less than a tenth of the time.
    """
    if len(segment.selectors) != 1:
        return None
    step = _selection(segment.selectors[0])
    if step is None or isinstance(segment, segments.JSONPathChildSegment):
        return step

    def select(nodes: Nodes) -> Nodes:
        return [
            found for node in nodes for each in containers(node) for found in step.select([each])
        ]

    def examines(nodes: Nodes) -> int:
        return sum(step.examines([each]) for node in nodes for each in containers(node))

    return Step(select, examines)


def _selection(selector: selectors.JSONPathSelector) -> Step | None:
    if isinstance(selector, selectors.NameSelector):
        name = selector.name
        return Step(lambda nodes: [n[name] for n in nodes if type(n) is dict and name in n], len)
    if isinstance(selector, selectors.IndexSelector):
        index = selector.index
        return Step(
            lambda nodes: [
                n[index] for n in nodes if type(n) is list and -len(n) <= index < len(n)
            ],
            len,
        )
    if isinstance(selector, selectors.WildcardSelector):
        return Step(lambda nodes: [child for node in nodes for child in _children(node)], _width)
    if isinstance(selector, selectors.FilterSelector):
        holds = _predicate(selector.expression.expression)
        if holds is not None:
            return Step(
                lambda nodes: [c for node in nodes for c in _children(node) if holds(c)], _width
            )
    return None


def _predicate(expression: expressions.Expression) -> Predicate | None:
    if isinstance(expression, expressions.LogicalExpression):
        left, right = _predicate(expression.left), _predicate(expression.right)
        if left is None or right is None:
            return None
        if expression.operator == "&&":
            return lambda value: left(value) and right(value)
        return lambda value: left(value) or right(value)
    if isinstance(expression, expressions.PrefixExpression):
        holds = _predicate(expression.right)
        return None if holds is None else lambda value: not holds(value)
    if isinstance(expression, expressions.RelativeFilterQuery):
        names = _member(expression)
        return None if names is None else lambda value: member(value, names) is not MISSING
    compared = _compared(expression)
    return None if compared is None else _comparison(*compared)


def member(value: Any, names: Keys) -> Any:
    """What names lead to below a value; `MISSING` where there is nothing."""
    for name in names:
        if type(value) is not dict or name not in value:
            return MISSING
        value = value[name]
    return value


def _member(query: expressions.RelativeFilterQuery) -> Keys | None:
    """The names in `@.a.b`; None where the query is any other."""
    names = tuple(_base(query.query))
    return names if len(names) == len(query.query.segments) else None


def _compared(expression: expressions.Expression) -> tuple[Keys, str, Any] | None:
    """Member, operator and literal of `@.name < 3`, with the literal on the right."""
    if not isinstance(expression, expressions.ComparisonExpression):
        return None
    left, right = expression.left, expression.right
    names = _member(left) if isinstance(left, expressions.RelativeFilterQuery) else None
    if names is None or not isinstance(right, expressions.FilterExpressionLiteral):
        return None
    if type(right.value) in TEXT | NUMBERS:
        return names, expression.operator, right.value
    if expression.operator in {"==", "!="} and (right.value is None or type(right.value) is bool):
        return names, expression.operator, right.value
    return None


def _comparison(names: Keys, sign: str, literal: Any) -> Predicate:
    """JSONPath compares values of one kind only, and to it true is no number."""
    kinds = NUMBERS if type(literal) in NUMBERS else frozenset({type(literal)})
    negated = sign == "!="
    compare = COMPARISONS["==" if negated else sign]

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


def containers(node: Any) -> Nodes:
    """The objects and arrays at and below a node, parents first: only they have children."""
    if type(node) not in CONTAINERS:
        return []
    found = [node]
    for child in [child for child in _children(node) if type(child) in CONTAINERS]:
        found += containers(child)
    return found
