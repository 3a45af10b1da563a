"""Traces written by hand: who called whom, from when to when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from orchwatch.analysis.span_tree import SpanTree
from orchwatch.store.outlines import Outline

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tree(Protocol):
    def __call__(
        self, spans: Sequence[tuple[str, int, int, str | None]], **more: dict[str, Any]
    ) -> SpanTree: ...


@pytest.fixture
def tree() -> Tree:
    """Makes a tree of (name, start, end, name of the caller); `more` has columns by name."""
    return made


def made(spans: Sequence[tuple[str, int, int, str | None]], **more: dict[str, Any]) -> SpanTree:
    ids = {name: number for number, (name, *_) in enumerate(spans, 1)}
    outlines = [
        Outline(
            trace_id="t",
            span_id=ids[name],
            parent_span_id=None if caller is None else ids.get(caller, 999),
            name=name,
            operation=name,
            start_ns=start,
            end_ns=end,
            status=1,
            error_type=None,
            session_id="s",
            agent=None,
            agent_id=None,
        )._replace(**more.get(name, {}))
        for name, start, end, caller in spans
    ]
    outlines.sort(key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    return SpanTree(outlines)
