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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchwatch.agents.sessions.spans import Span
    from orchwatch.recording.otlp_json import AttributeValue

# Apart from each other: input is what neither came from the cache nor went to it.
INPUT, OUTPUT, CACHE_READ, CACHE_WRITE = "input", "output", "cache_read", "cache_creation"
REASONING = "reasoning"  # of the output
# By the conventions' names, of which the first one holds what is cached too.
_METRICS = {
    semconv.INPUT_TOKENS: (INPUT, CACHE_READ, CACHE_WRITE),
    semconv.OUTPUT_TOKENS: (OUTPUT,),
    semconv.CACHE_READ_TOKENS: (CACHE_READ,),
    semconv.CACHE_WRITE_TOKENS: (CACHE_WRITE,),
    semconv.REASONING_TOKENS: (REASONING,),
}
_UNKNOWN_MODALITY = "unknown"  # no session file tells text from pictures

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
        self._providers: dict[str, str] = saved.get("providers", {})
        self._changed = True
        self._exported_ns = 0

    def save(self) -> dict[str, Any]:
        """The totals; JSON."""
        return {
            "since_ns": self._since_ns,
            "totals": self._totals,
            "providers": self._providers,
        }

    def add(self, spans: Iterable[Span]) -> None:
        """Adds what finished turns and sub-agents used; a turn does not hold its sub-agents'."""
        for span in spans:
            model = span.attributes.get(semconv.GEN_AI_RESPONSE_MODEL)
            if model is None or span.operation not in (semconv.AGENT_TURN, semconv.AGENT_RUN):
                continue
            provider = span.attributes.get(semconv.GEN_AI_PROVIDER_NAME)
            for one, used in _by_model(span, str(model)):
                self._add(one, used, provider)

    def _add(self, model: str, used: Mapping[str, int], provider: object) -> None:
        """Adds what a model used, by the names of the attributes."""
        cache_read = used[semconv.GEN_AI_USAGE_CACHE_READ_TOKENS]
        cache_write = used[semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS]
        name = self._counted_as(model)
        totals = self._totals.setdefault(name, {})
        self._changed = True
        for kind, number in (
            (INPUT, used[semconv.GEN_AI_USAGE_INPUT_TOKENS] - cache_read - cache_write),
            (OUTPUT, used[semconv.GEN_AI_USAGE_OUTPUT_TOKENS]),
            (CACHE_READ, cache_read),
            (CACHE_WRITE, cache_write),
        ):
            totals[kind] = totals.get(kind, 0) + number
        reasoning = used[semconv.GEN_AI_USAGE_REASONING_TOKENS]
        if reasoning:  # most agents do not tell it
            totals[REASONING] = totals.get(REASONING, 0) + reasoning
        if isinstance(provider, str) and name != _OTHER_MODEL:
            self._providers.setdefault(name, provider)  # a series keeps its labels

    def export(self) -> None:
        """Appends the totals to the spool's metrics if they have changed, or may be forgotten."""
        now_ns = time.time_ns()
        if not self._changed and now_ns - self._exported_ns < _REPEAT_NS:
            return
        metrics = [
            encode_counter(name, _UNIT, ",".join(points), CUMULATIVE)
            for name, kinds in _METRICS.items()
            if (points := self._points(kinds, now_ns))
        ]
        if not metrics:
            return
        resource = encode_attributes({semconv.SERVICE_NAME: self._service})
        prefix = metrics_prefix(resource)
        line = f"{prefix}{','.join(metrics)}{LINE_SUFFIX}"
        if spool.append(spool.METRICS, to_bytes(line), 0):
            self._changed, self._exported_ns = False, now_ns

    def _points(self, kinds: tuple[str, ...], now_ns: int) -> list[str]:
        """Of each model of which the first kind is known."""
        return [
            encode_point(
                sum(totals.get(kind, 0) for kind in kinds),
                self._labels(model),
                self._since_ns,
                now_ns,
            )
            for model, totals in self._totals.items()
            if kinds[0] in totals
        ]

    def _labels(self, model: str) -> dict[str, AttributeValue]:
        labels: dict[str, AttributeValue] = {
            semconv.GEN_AI_OPERATION_NAME: semconv.CHAT,
            semconv.GEN_AI_RESPONSE_MODEL: model,
            semconv.GEN_AI_TOKEN_MODALITY: _UNKNOWN_MODALITY,
        }
        provider = self._providers.get(model)
        return {**labels, semconv.GEN_AI_PROVIDER_NAME: provider} if provider else labels

    def _counted_as(self, model: str) -> str:
        is_new = model not in self._totals
        return _OTHER_MODEL if is_new and len(self._totals) >= _MAX_MODELS else model


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
