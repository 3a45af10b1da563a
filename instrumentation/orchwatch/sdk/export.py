"""The SDK's exporters, to the spool and over OTLP; neither loses or delays anything."""

from __future__ import annotations

import os
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from orchwatch.recording import losses, spool
from orchwatch.sdk.answers import Answers
from orchwatch.sdk.delivery import Delivery
from orchwatch.sdk.spool_exporter import SpanLines, append_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

# What an exiting process may still have to write, at some 12 µs each, within its time limit.
MAX_QUEUE_SIZE = 4096
SCHEDULE_DELAY_MS = 500.0


class WriteThrough(SpanProcessor):
    """Appends each span to the operations of the spool as it ends.

    So there is no queue that a signal, `os._exit` or the kernel's memory killer could empty, nor a
    thread that gets in the way of a host that forks.
    """

    def __init__(self) -> None:
        self._lines = SpanLines()

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context and context.trace_flags.sampled:
            self._lines.append(spool.OPERATIONS, [span])

    def renew(self) -> None:
        """In a forked child, which has another resource."""
        self._lines = SpanLines()

    def close_by(self, deadline: float) -> None:
        """Nothing to hurry: the spool is never waited for."""


class SpansToOtlp(SpanExporter):
    """Sends spans; those that could not be sent go to the spool, as undelivered."""

    def __init__(self, make_exporter: Callable[[Answers], SpanExporter]) -> None:
        self._make_exporter = make_exporter
        self._answers = Answers()
        self._exporter: SpanExporter | None = make_exporter(self._answers)
        self._delivery = Delivery(self._send, self.keep)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._delivery.deliver(spans)
        return SpanExportResult.SUCCESS

    def keep(self, spans: Sequence[ReadableSpan]) -> None:
        """Writes spans at once."""
        SpanLines().append(spool.UNDELIVERED, spans)

    def close_by(self, deadline: float) -> None:
        """Bounds all waiting, as `Delivery.close_by` does."""
        self._delivery.close_by(deadline)

    def renew(self) -> None:
        """In a forked child: its parent's connections are not its own."""
        self._exporter = None

    def shutdown(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()

    def _send(self, spans: Sequence[ReadableSpan]) -> bool:
        if self._exporter is None:
            self._exporter = self._make_exporter(self._answers)
        self._answers.refused = 0
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return False
        return _arrived(len(spans), self._answers.refused)


class MetricsToSpool(MetricExporter):
    """Appends metrics to the spool."""

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        # A forked child would continue its parent's counts; it gets its own provider, and the
        # counts of this one are left to the parent to report.
        if os.getpid() == self._pid:
            self._put(metrics_data)
        return MetricExportResult.SUCCESS

    def close_by(self, deadline: float) -> None:
        """Nothing to hurry: the spool is never waited for."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing is buffered."""

    def _put(self, metrics_data: MetricsData) -> None:
        append_metrics(metrics_data)


class MetricsToOtlp(MetricsToSpool):
    """Sends metrics; those that could not be sent go to the spool."""

    def __init__(self, make_exporter: Callable[[Answers], MetricExporter]) -> None:
        super().__init__()
        self._answers = Answers()
        self._exporter = make_exporter(self._answers)
        self._delivery = Delivery(self._send, append_metrics)

    def close_by(self, deadline: float) -> None:
        """Bounds all waiting, as `Delivery.close_by` does."""
        self._delivery.close_by(deadline)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis=0)

    def _put(self, metrics_data: MetricsData) -> None:
        self._delivery.deliver(metrics_data)

    def _send(self, metrics_data: MetricsData) -> bool:
        self._answers.refused = 0
        if self._exporter.export(metrics_data) is not MetricExportResult.SUCCESS:
            return False
        return _arrived(_points(metrics_data), self._answers.refused)


def _arrived(number: int, refused: int) -> bool:
    """Whether the server has accepted any of the request; what it rejected is counted."""
    if refused >= number:
        return False
    if refused:
        losses.count("refused", refused)
    return True


def _points(metrics_data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource_metrics in metrics_data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    )


class LosslessBatchProcessor(BatchSpanProcessor):
    """The SDK's batch processor, but a span that finds the queue full is written at once.

    The SDK would drop the oldest one and only log that.
    """

    _room: deque[None]

    def __init__(self, out: SpansToOtlp) -> None:
        self._out = out
        self._make_room()
        super().__init__(
            _CountingExporter(out, self.leave_room),
            max_queue_size=MAX_QUEUE_SIZE,
            schedule_delay_millis=SCHEDULE_DELAY_MS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context and context.trace_flags.sampled:
            try:
                self._room.pop()
            except IndexError:
                self._out.keep([span])
            else:
                super().on_end(span)

    def leave_room(self, spans: int) -> None:
        """Called when that many spans have left the queue."""
        self._room.extend(repeat(None, spans))

    def shutdown(self) -> None:
        # What ends from now on (in the host's own exit handlers, say) finds no room, and is kept.
        self._room = deque(maxlen=0)
        super().shutdown()  # type: ignore[no-untyped-call]

    def renew(self) -> None:
        """In a forked child, whose queue the SDK has cleared."""
        self._make_room()
        self._out.renew()

    def close_by(self, deadline: float) -> None:
        """Bounds all waiting, as `Delivery.close_by` does."""
        self._out.close_by(deadline)

    def _make_room(self) -> None:
        # One element for each span that still fits. A deque needs no lock, which a signal handler
        # might find taken, and costs a tenth of a semaphore.
        self._room = deque(repeat(None, MAX_QUEUE_SIZE))


class _CountingExporter(SpanExporter):
    """Counts for the processor how many spans have left its queue."""

    def __init__(self, out: SpansToOtlp, left: Callable[[int], None]) -> None:
        self._out = out
        self._left = left

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._left(len(spans))
        return self._out.export(spans)

    def shutdown(self) -> None:
        self._out.shutdown()
