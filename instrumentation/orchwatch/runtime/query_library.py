"""JSONPath (RFC 9535) as the library reads it: for what `query_syntax` leaves to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.errors import OrchwatchError
from orchwatch.runtime import query_syntax as syntax
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.runtime.query_syntax import Segment, Test
    from orchwatch.runtime.state_paths import Keys

_TEXT = frozenset({str})
_NUMBERS = frozenset({int, float})


class LibraryQuery:
    """A query of the library's.

    Args:
        path: JSONPath.

    Attributes:
        segments: As `query_syntax.parsed` gives them; None where only the library can answer.
        reads: The members that its result depends on: where it begins to look, and where the
            filters in it do that begin at the top again.

    Raises:
        ValueError, RecursionError: It is not JSONPath.
    """

    def __init__(self, path: str) -> None:
        try:
            self._query = _environment.compile(path)
        except (jsonpath.JSONPathError, OverflowError) as error:
            raise ValueError(str(error)) from error
        found = [_segment(segment) for segment in self._query.segments]
        read = tuple(segment for segment in found if segment is not None)
        self.segments = read if len(read) == len(found) else None
        self.reads: tuple[Keys, ...] = tuple(sorted(set(_reads(self._query))))

    def find(self, document: Any) -> list[Any]:
        """The values that it selects.

        Raises:
            ValueError, RecursionError: They lie too deep.
        """
        try:
            return list(self._query.find(document).values())
        except jsonpath.JSONPathError as error:
            raise ValueError(str(error)) from error


class _Environment(jsonpath.JSONPathEnvironment):
    max_recursion_depth = 400


_environment = _Environment()


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


def _segment(segment: segments.JSONPathSegment) -> Segment | None:
    if len(segment.selectors) != 1:
        return None
    deep = not isinstance(segment, segments.JSONPathChildSegment)
    selector = segment.selectors[0]
    if isinstance(selector, selectors.NameSelector):
        return deep, syntax.NAME, selector.name
    if isinstance(selector, selectors.IndexSelector):
        return deep, syntax.INDEX, selector.index
    if isinstance(selector, selectors.WildcardSelector):
        return deep, syntax.ALL, None
    if isinstance(selector, selectors.FilterSelector):
        test = _test(selector.expression.expression)
        return None if test is None else (deep, syntax.FILTER, test)
    return None


def _test(expression: expressions.Expression) -> Test | None:
    if isinstance(expression, expressions.LogicalExpression):
        left, right = _test(expression.left), _test(expression.right)
        return None if left is None or right is None else (expression.operator, left, right)
    if isinstance(expression, expressions.PrefixExpression):
        negated = _test(expression.right)
        return None if negated is None else (syntax.NOT, negated)
    if isinstance(expression, expressions.RelativeFilterQuery):
        names = _member(expression)
        return None if names is None else (syntax.EXISTS, names)
    return _compared(expression)


def _member(query: expressions.RelativeFilterQuery) -> Keys | None:
    """The names in `@.a.b`; None where the query is any other."""
    names = tuple(_base(query.query))
    return names if len(names) == len(query.query.segments) else None


def _compared(expression: expressions.Expression) -> Test | None:
    """`@.name < 3`, with the literal on the right."""
    if not isinstance(expression, expressions.ComparisonExpression):
        return None
    left, right = expression.left, expression.right
    names = _member(left) if isinstance(left, expressions.RelativeFilterQuery) else None
    if names is None or not isinstance(right, expressions.FilterExpressionLiteral):
        return None
    is_plain = type(right.value) in _TEXT | _NUMBERS or (
        expression.operator in syntax.EQUALITIES
        and (right.value is None or type(right.value) is bool)
    )
    return (syntax.COMPARES, names, expression.operator, right.value) if is_plain else None
