"""Questions to a session's state, asked in JSONPath (RFC 9535)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation

try:
    import jsonpath_rfc9535 as jsonpath
    from jsonpath_rfc9535 import filter_expressions as expressions
    from jsonpath_rfc9535 import segments, selectors
except ImportError as error:
    # Its next version can be imported, and has no such module.
    raise OrchwatchError(
        f"queries need jsonpath-rfc9535 1.x ({error}); pip install 'orchwatch[local]'"
    ) from error

if TYPE_CHECKING:
    from orchwatch.runtime.state import StateStore

Nodes = list[Any]
Step = Callable[[Nodes], Nodes]
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
PATH_ATTRIBUTE_CHARACTERS = 120


class QueryError(OrchwatchError):
    """A path is not JSONPath; the message names the path and what is wrong with it."""


class QueryAPI:
    """Answers JSONPath queries on the state that a store holds in memory."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def query(self, path: str) -> list[Any]:
        """The values that `path` selects, in the order of the document; they are not copies.

        Raises:
            QueryError: `path` is not JSONPath.
        """
        with operation(
            semconv.STATE_QUERY, {semconv.STATE_PATH: path[:PATH_ATTRIBUTE_CHARACTERS]}
        ) as op:
            values = _compiled(path)(self._store.document)
            op.set_attribute(semconv.RESULT_COUNT, len(values))
            return values


@lru_cache(maxsize=COMPILED_QUERIES)
def _compiled(path: str) -> Callable[[Any], Nodes]:
    try:
        query = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        reason = str(error).splitlines()[0]
        raise QueryError(f"{path!r} is not JSONPath: {reason}") from error
    steps = [_step(segment) for segment in query.segments]
    direct = [step for step in steps if step is not None]
    if len(direct) < len(steps):
        return lambda document: query.find(document).values()
    return lambda document: _walk(direct, document)


def _walk(steps: Iterable[Step], document: Any) -> Nodes:
    nodes = [document]
    for step in steps:
        nodes = step(nodes)
    return nodes


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
    return lambda nodes: [
        found for node in nodes for each in _containers(node) for found in step([each])
    ]


def _selection(selector: selectors.JSONPathSelector) -> Step | None:
    if isinstance(selector, selectors.NameSelector):
        name = selector.name
        return lambda nodes: [node[name] for node in nodes if type(node) is dict and name in node]
    if isinstance(selector, selectors.IndexSelector):
        index = selector.index
        return lambda nodes: [
            node[index] for node in nodes if type(node) is list and -len(node) <= index < len(node)
        ]
    if isinstance(selector, selectors.WildcardSelector):
        return lambda nodes: [child for node in nodes for child in _children(node)]
    if isinstance(selector, selectors.FilterSelector):
        holds = _predicate(selector.expression.expression)
        if holds is not None:
            return lambda nodes: [c for node in nodes for c in _children(node) if holds(c)]
    return None


def _predicate(expression: expressions.Expression) -> Predicate | None:
    if isinstance(expression, expressions.LogicalExpression):
        left, right = _predicate(expression.left), _predicate(expression.right)
        if left is None or right is None:
            return None
        if expression.operator == "&&":
            return lambda value: left(value) and right(value)
        return lambda value: left(value) or right(value)
    if isinstance(expression, expressions.ComparisonExpression):
        return _comparison(expression)
    return None


def _comparison(expression: expressions.ComparisonExpression) -> Predicate | None:
    """`@.name < 3` or `@.name == "text"`, with the literal on the right.

    JSONPath compares values of one kind only, and to it true is no number.
    """
    left, right = expression.left, expression.right
    if not isinstance(left, expressions.RelativeFilterQuery) or len(left.query.segments) != 1:
        return None
    (segment,) = left.query.segments
    selector = segment.selectors[0]
    if len(segment.selectors) > 1 or not isinstance(selector, selectors.NameSelector):
        return None
    if isinstance(right, expressions.StringLiteral):
        kinds: frozenset[type] = TEXT
    elif isinstance(right, expressions.IntegerLiteral | expressions.FloatLiteral):
        kinds = NUMBERS
    else:
        return None
    name, literal = selector.name, right.value
    negated = expression.operator == "!="
    compare = COMPARISONS["==" if negated else expression.operator]

    def holds(value: Any) -> bool:
        member = value.get(name) if type(value) is dict else None
        return (type(member) in kinds and compare(member, literal)) is not negated

    return holds


def _children(node: Any) -> Iterable[Any]:
    if type(node) is dict:
        return node.values()
    return node if type(node) is list else ()


def _containers(node: Any) -> Nodes:
    """The objects and arrays at and below a node, parents first: only they have children."""
    if type(node) not in CONTAINERS:
        return []
    found = [node]
    for child in [child for child in _children(node) if type(child) in CONTAINERS]:
        found += _containers(child)
    return found
