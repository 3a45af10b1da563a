"""What Tempo holds of the spans that were emitted here."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from orchwatch.monitor.client import get_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_AT_ONCE = 8
_HEX_SPAN_ID_LENGTH = 16


def missing(
    url: str, traces: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[tuple[str, list[str]]]:
    """Asks for each trace and yields its id with the ids of the spans that are not there.

    Args:
        url: The root of Tempo's HTTP interface.
        traces: Trace ids with the ids of their spans, hexadecimal.

    Raises:
        OrchwatchError: Tempo cannot be reached, or goes on failing.
    """
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        yield from pool.map(lambda trace: _missing(url, *trace), traces)


def _missing(url: str, trace_id: str, span_ids: Sequence[str]) -> tuple[str, list[str]]:
    held = _held(get_json("Tempo", url, f"/api/v2/traces/{trace_id}"))
    return trace_id, [span_id for span_id in span_ids if span_id not in held]


def _held(answer: Any) -> set[str]:
    trace = (answer or {}).get("trace") or {}
    return {
        _hex(span["spanId"])
        for resource in trace.get("resourceSpans", [])
        for scope in resource.get("scopeSpans", [])
        for span in scope.get("spans", [])
    }


def _hex(identity: str) -> str:
    """Protobuf's JSON writes bytes in base64, OTLP's in hexadecimal; the length tells which."""
    if len(identity) == _HEX_SPAN_ID_LENGTH:
        return identity.lower()
    return base64.b64decode(identity).hex()
