"""How a JSONPath query (RFC 9535) is answered: as loops where that is possible."""

from __future__ import annotations

from orchwatch.errors import OrchwatchError
from orchwatch.runtime import query_steps, query_syntax

TYPE_CHECKING = False  # as in `query_syntax`
if TYPE_CHECKING:
    from typing import Any

    from orchwatch.runtime.query_library import LibraryQuery
    from orchwatch.runtime.query_steps import Equality, Nodes, Step
    from orchwatch.runtime.state_paths import Keys

_SHOWN_CHARACTERS = 120


class QueryError(OrchwatchError):
    """A path is not JSONPath; the message names the path and what is wrong with it."""


class Plan:
    """A compiled path.

    Args:
        path: A query.

    Attributes:
        path: As it was asked.
        base: The names that it begins with.
        reads: The members that its result depends on, with what is above and below them.
        needs: Of the members below these, only objects, arrays, those with one of these names and
            what is below them count; None where all do.
        steps: Every segment; None where the library must answer.
        equality: What the segment after `base` is, if an index can help there.
        search: The name that the segment after `base` looks for at any depth.

    Raises:
        QueryError: It is not JSONPath.
    """

    __slots__ = ("_library", "base", "equality", "needs", "path", "reads", "search", "steps")

    def __init__(self, path: str) -> None:
        if not isinstance(path, str):
            raise QueryError(f"{shown(path)} is not JSONPath: it must be a str")
        self.path = path
        self.base: Keys = ()
        self.steps: tuple[Step, ...] | None = None
        self.equality: Equality | None = None
        self.search: str | None = None
        self.needs: tuple[str, ...] | None = None
        self._library: LibraryQuery | None = None
        segments = query_syntax.parsed(path)
        if segments is None:
            self._library = _of_library(path)
            segments = self._library.segments
        if segments is not None:
            self.base = query_steps.base(segments)
            self.steps = tuple(map(query_steps.step, segments))
            for segment in segments[len(self.base) : len(self.base) + 1]:
                self.equality = query_steps.equality(segment)
                self.search = query_steps.search(segment)
        if self._library is not None:
            self.reads = self._library.reads
            return
        self.reads = (self.base,)
        if segments is not None:
            self.needs = query_steps.needed(segments[len(self.base) :])

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
            if self.steps is not None:
                return query_steps.walk(self.steps, [document])
            assert self._library is not None
            return self._library.find(document)
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise QueryError(f"{shown(self.path)} cannot be answered: {reason}") from error


def shown(path: object) -> str:
    """A path in a message."""
    text = repr(path)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _of_library(path: str) -> LibraryQuery:
    from orchwatch.runtime.query_library import LibraryQuery  # noqa: PLC0415 - slow to import

    try:
        return LibraryQuery(path)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split("\n", 1)[0].split())
        raise QueryError(f"{shown(path)} is not JSONPath: {reason}") from error
