"""The spans of a trace as far as they take a turn's time, and what failed requests say of it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.analysis.span_tree import kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchwatch.store.outlines import Outline

_NS = 1_000_000_000
# They say something of a turn, and take none of its time.
_SAYING = frozenset(
    (
        *(semconv.AGENT_SPAWN, semconv.AGENT_TASK, semconv.API_ERROR, semconv.SESSION_COST),
        *(semconv.SESSION_INIT, semconv.ORCHESTRATION_RUN, semconv.COMMAND_RUN),
    )
)


def is_agent(span: Outline) -> bool:
    """Whether it is a turn, or an agent's run."""
    return is_run(span) or semconv.AGENT_TURN in (span.operation, span.name)


def compacts(span: Outline) -> bool:
    """Whether the conversation is summarised."""
    return semconv.CONTEXT_COMPACT in (span.operation, span.name)


def is_request(span: Outline) -> bool:
    """Whether a model is asked."""
    return kind(span) == "model" and not compacts(span)


def is_run(span: Outline) -> bool:
    """Whether it is an agent's run."""
    return span.operation == semconv.AGENT_RUN or span.name.startswith(semconv.INVOKE_AGENT)


def kept(
    spans: Sequence[Outline],
) -> tuple[list[Outline], dict[int | None, list[Outline]]]:
    """The spans that take time, each under the next one above that does; and errors of requests.

    What has no caller in a trace of one turn is that turn's.
    """
    by_id = {span.span_id: span for span in spans}
    above: dict[int, int | None] = {}
    for span in spans:
        parent, seen = span.parent_span_id, set()
        while parent in by_id and _says(by_id[parent]) and parent not in seen:
            seen.add(parent)
            parent = by_id[parent].parent_span_id
        above[span.span_id] = parent if parent in by_id and parent not in seen else None
    turns = [
        span.span_id
        for span in spans
        if is_agent(span) and not is_run(span) and above[span.span_id] is None
    ]
    whole = turns[0] if len(turns) == 1 else None
    kept = []
    errors: defaultdict[int | None, list[Outline]] = defaultdict(list)
    for span in spans:
        parent = above[span.span_id]
        if parent is None and span.span_id != whole:
            parent = whole
        if semconv.API_ERROR in (span.operation, span.name):
            errors[parent].append(span)
        elif not _says(span):
            kept.append(span._replace(parent_span_id=parent))
    return kept, errors


def _says(span: Outline) -> bool:
    return (span.operation or span.name) in _SAYING


def retried(
    errors: Sequence[Outline], told: Mapping[tuple[str, int], Mapping[str, Any]]
) -> Iterator[tuple[int, int]]:
    """From each error of a request that is tried again to the end of the wait that it announces.

    Where the next one fails too, that attempt is a part of it.
    """
    for number, error in enumerate(errors):
        attributes = told.get(error[:2], {})
        attempt, delay_s = (
            _number(attributes.get(key)) for key in (semconv.RETRY_ATTEMPT, semconv.RETRY_DELAY)
        )
        if not attempt:
            continue
        end_ns = error.end_ns + int(delay_s * _NS)
        for later in errors[number + 1 :]:
            if _number(told.get(later[:2], {}).get(semconv.RETRY_ATTEMPT)) == attempt + 1:
                end_ns = max(end_ns, later.end_ns)
            break
        yield error.end_ns, end_ns


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
