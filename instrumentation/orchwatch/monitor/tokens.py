"""Tokens that models used, added up for ever: totals that survive the process.

They are taken from the finished spans and stored with them, so that a total is exact whatever
happens to the process. A process's own counters start from zero, and what a killed one had counted
last would be lost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.recording import spool
from orchwatch.recording.otlp_json import (
    CUMULATIVE,
    LINE_SUFFIX,
    encode_attributes,
    encode_counter,
    encode_point,
    metrics_prefix,
    to_bytes,
)
from orchwatch.recording.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchwatch.agents.sessions.spans import Span

INPUT, OUTPUT, CACHE_READ, CACHE_CREATION = "input", "output", "cache_read", "cache_creation"

_UNIT = "{token}"
# A model is a label: made-up model names must not fill Prometheus.
_MAX_MODELS = 32
_OTHER_MODEL = "other"
# Prometheus takes a series for gone that was not heard of for five minutes.
_REPEAT_NS = 240 * 1_000_000_000


class Tokens:
    """Totals by model and kind of token.

    Args:
        saved: What `save` returned in the process before.
        service: The agent that asked them.
    """

    def __init__(
        self, saved: Mapping[str, Any] | None, service: str = semconv.CLAUDE_CODE_SERVICE
    ) -> None:
        self._service = service
        saved = saved or {"since_ns": time.time_ns(), "totals": {}}
        self._since_ns: int = saved["since_ns"]
        self._totals: dict[str, dict[str, int]] = saved["totals"]
        self._changed = True
        self._exported_ns = 0

    def save(self) -> dict[str, Any]:
        """The totals; JSON."""
        return {"since_ns": self._since_ns, "totals": self._totals}

    def add(self, spans: Iterable[Span]) -> None:
        """Adds what finished turns and sub-agents used; a turn does not hold its sub-agents'."""
        for span in spans:
            model = span.attributes.get(semconv.GEN_AI_RESPONSE_MODEL)
            if model is None or span.operation not in (semconv.AGENT_TURN, semconv.AGENT_RUN):
                continue
            for one, used in _by_model(span, str(model)):
                self._add(one, used)

    def _add(self, model: str, used: Mapping[str, int]) -> None:
        """Adds what a model used, by the names of the attributes."""
        cache_read = used[semconv.GEN_AI_USAGE_CACHE_READ_TOKENS]
        cache_creation = used[semconv.GEN_AI_USAGE_CACHE_CREATION_TOKENS]
        totals = self._of_model(model)
        self._changed = True
        for kind, number in (
            (INPUT, used[semconv.GEN_AI_USAGE_INPUT_TOKENS] - cache_read - cache_creation),
            (OUTPUT, used[semconv.GEN_AI_USAGE_OUTPUT_TOKENS]),
            (CACHE_READ, cache_read),
            (CACHE_CREATION, cache_creation),
        ):
            totals[kind] = totals.get(kind, 0) + number

    def export(self) -> None:
        """Appends the totals to the spool's metrics if they have changed, or may be forgotten."""
        now_ns = time.time_ns()
        if not self._changed and now_ns - self._exported_ns < _REPEAT_NS:
            return
        points = [
            encode_point(
                number,
                {semconv.GEN_AI_TOKEN_TYPE: kind, semconv.GEN_AI_RESPONSE_MODEL: model},
                self._since_ns,
                now_ns,
            )
            for model, totals in self._totals.items()
            for kind, number in totals.items()
        ]
        if not points:
            return
        resource = encode_attributes({semconv.SERVICE_NAME: self._service})
        prefix = metrics_prefix(resource, semconv.SCOPE, __version__)
        metric = encode_counter(semconv.TOKEN_USAGE, _UNIT, ",".join(points), CUMULATIVE)
        if spool.append(spool.METRICS, to_bytes(f"{prefix}{metric}{LINE_SUFFIX}"), 0):
            self._changed, self._exported_ns = False, now_ns

    def _of_model(self, model: str) -> dict[str, int]:
        if model not in self._totals and len(self._totals) >= _MAX_MODELS:
            model = _OTHER_MODEL
        return self._totals.setdefault(model, {})


def _by_model(span: Span, model: str) -> Iterator[tuple[str, dict[str, int]]]:
    """The models that it asked, and the counts of each."""
    models = span.attributes.get(semconv.USAGE_MODELS)
    if not isinstance(models, list):
        yield model, {key: _tokens(span, key) for key in semconv.USAGE_OF_MODELS}
        return
    columns = {
        key: counts
        for key, name in semconv.USAGE_OF_MODELS.items()
        if isinstance(counts := span.attributes[name], list)
    }
    for place, one in enumerate(models):
        yield str(one), {key: int(counts[place]) for key, counts in columns.items()}


def _tokens(span: Span, key: str) -> int:
    number = span.attributes.get(key, 0)
    return number if isinstance(number, int) else 0
