"""Which of the emitted spans Tempo holds."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from orchwatch.diagnosis.client import foreign, get_json
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_CONCURRENT = 8
_HEX_SPAN_ID_LENGTH = 16
_HEX_TRACE_ID_LENGTH = 32
# Tempo's own limit to the spans of a trace in a search (max_spans_per_span_set).
_SPANS_PER_TRACE = 100


def missing(
    url: str, traces: Mapping[str, Sequence[str]], *, start_s: int, end_s: int
) -> list[tuple[str, str]]:
    """The trace and span ids of missing spans.

    A search lists a thousand traces as fast as twenty are fetched by their ids, but promises no
    completeness: what it does not list is asked for by id, and that answer holds.

    Args:
        url: The root of Tempo's HTTP interface.
        traces: Span ids by trace id, hexadecimal.
        start_s: The traces began at this Unix time or later.
        end_s: And before this one.

    Raises:
        OrchwatchError: Tempo cannot be reached, is something else, or goes on failing.
    """
    listed = _search(url, len(traces), start_s, end_s)
    unlisted = {
        trace_id: span_ids
        for trace_id, span_ids in traces.items()
        if not listed.get(trace_id, set()).issuperset(span_ids)
    }
    with ThreadPoolExecutor(max_workers=_MAX_CONCURRENT) as pool:
        held = pool.map(lambda trace_id: _fetch(url, trace_id), unlisted)
        return [
            (trace_id, span_id)
            for (trace_id, span_ids), found in zip(unlisted.items(), held, strict=True)
            for span_id in span_ids
            if span_id not in found
        ]


def _search(url: str, number: int, start_s: int, end_s: int) -> dict[str, set[str]]:
    try:
        answer = get_json(
            "Tempo",
            url,
            "/api/search",
            q="{}",
            start=str(start_s),
            end=str(end_s),
            # Others may have sent spans too.
            limit=str(2 * number + _SPANS_PER_TRACE),
            spss=str(_SPANS_PER_TRACE),
        )
    except OrchwatchError:
        return {}
    # However little it finds, Tempo says how much it looked at.
    if not (isinstance(answer, dict) and answer.keys() & {"traces", "metrics"}):
        raise foreign("Tempo", url)
    # It leaves out the leading zeros of ids.
    return {
        trace["traceID"].zfill(_HEX_TRACE_ID_LENGTH): {
            span["spanID"].zfill(_HEX_SPAN_ID_LENGTH)
            for spans in trace.get("spanSets", [])
            for span in spans.get("spans", [])
        }
        for trace in answer.get("traces", [])
    }


def _fetch(url: str, trace_id: str) -> set[str]:
    answer: Any = get_json("Tempo", url, f"/api/v2/traces/{trace_id}")
    trace = (answer or {}).get("trace") or {}
    return {
        _hex(span["spanId"])
        for resource in trace.get("resourceSpans", [])
        for scope in resource.get("scopeSpans", [])
        for span in scope.get("spans", [])
    }


def _hex(identity: str) -> str:
    """Protobuf's JSON writes bytes in base64, OTLP's in hexadecimal; the length shows which."""
    if len(identity) == _HEX_SPAN_ID_LENGTH:
        return identity.lower()
    return base64.b64decode(identity).hex()
