"""`configure`: the OpenTelemetry SDK for processes that live long."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
import uuid

# The SDK's fork handlers use a thread pool, and hang in the child unless this module's own fork
# handlers were registered before theirs.
from concurrent.futures import thread as _thread_pools  # noqa: F401
from typing import TYPE_CHECKING, Literal

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from orchwatch import config, names, recorder, targets
from orchwatch.__about__ import __version__
from orchwatch.errors import OrchwatchError
from orchwatch.resources import resource_attributes
from orchwatch.sdk import host_metrics, otlp
from orchwatch.sdk.export import (
    LosslessBatchProcessor,
    MetricsToOtlp,
    MetricsToSpool,
    SpansToOtlp,
    SpansToSpool,
)
from orchwatch.sdk.recorder import SdkRecorder

if TYPE_CHECKING:
    from types import FrameType

    from opentelemetry.metrics import Histogram, Meter

EXIT_LIMIT_S = 0.2
SIGTERM_LIMIT_S = EXIT_LIMIT_S + 0.1
OTLP_METRICS_INTERVAL_S = 5.0  # so that an operation is seen in Prometheus within seconds
SPOOL_METRICS_INTERVAL_S = 60.0  # so that a day of them stays below the target for storage

_logger = logging.getLogger(__name__)


class _Providers:
    """A tracer and a meter provider with the way out that they share.

    Args:
        service_name: For the resource; None takes it from the environment.
        to_otlp: Send over OTLP instead of appending to the spool.
    """

    def __init__(self, service_name: str | None, *, to_otlp: bool) -> None:
        attributes = resource_attributes(service_name)
        spans_out: SpansToSpool | SpansToOtlp
        metrics_out: MetricsToSpool
        if to_otlp:
            spans_out = SpansToOtlp(otlp.span_exporter())
            metrics_out = MetricsToOtlp(otlp.metric_exporter())
            interval_s = OTLP_METRICS_INTERVAL_S
        else:
            spans_out = SpansToSpool()
            metrics_out = MetricsToSpool()
            interval_s = SPOOL_METRICS_INTERVAL_S
        self._outs = (spans_out, metrics_out)
        # Operations are counted, so all are recorded, whatever a remote parent sampled.
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ALWAYS_ON
        self.tracers = TracerProvider(
            resource=Resource(attributes), sampler=sampler, shutdown_on_exit=False
        )
        self.tracers.add_span_processor(LosslessBatchProcessor(spans_out))
        # The series of processes that run side by side must not be mixed up.
        instance = {names.SERVICE_INSTANCE_ID: str(uuid.uuid4())}
        interval_ms = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL")
        reader = PeriodicExportingMetricReader(
            metrics_out, export_interval_millis=None if interval_ms else interval_s * 1000
        )
        self.meters = MeterProvider(
            [reader], Resource({**attributes, **instance}), shutdown_on_exit=False
        )
        meter = self.meters.get_meter(names.SCOPE, __version__)
        host_metrics.observe(meter)
        self.recorder = SdkRecorder(
            self.tracers.get_tracer(names.SCOPE, __version__),
            meter,
            # The Collector counts the spans of the spool itself.
            durations(meter) if to_otlp else None,
        )

    def shutdown(self) -> None:
        """Sends or keeps what is left, within `EXIT_LIMIT_S`."""
        deadline = time.monotonic() + EXIT_LIMIT_S
        for out in self._outs:
            out.close_by(deadline)
        self.tracers.shutdown()
        self.meters.shutdown()


_installed: _Providers | None = None


def configure(
    *, service_name: str | None = None, export: Literal["spool", "otlp"] | None = None
) -> None:
    """Records the operations of a long-running process over the OpenTelemetry SDK.

    Sets the global tracer and meter providers, so that other instrumentations nest under our
    operations; providers that the host has set up itself are used as they are. Everything is
    flushed at exit and on SIGTERM, which takes at most 0.3 s even when the server is gone; what
    could not be sent stays in the spool. A second call changes nothing.

    Args:
        service_name: Otherwise `OTEL_SERVICE_NAME`.
        export: `spool`, or `otlp` by the `OTEL_EXPORTER_OTLP_*` variables. Otherwise
            `ORCHWATCH_EXPORT`; else OTLP where the environment names an endpoint or
            `OTEL_TRACES_EXPORTER=otlp`, and the spool where it does not.

    Raises:
        OrchwatchError: `export` or a variable has an unknown value.
    """
    global _installed  # noqa: PLW0603 - one set of providers a process
    if _installed is not None:
        return
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        use_global_providers()
        return
    to_otlp = _to_otlp(export)
    _installed = _Providers(service_name, to_otlp=to_otlp)
    trace.set_tracer_provider(_installed.tracers)
    metrics.set_meter_provider(_installed.meters)
    recorder.use(_installed.recorder)
    atexit.register(_shutdown)
    _flush_on_sigterm()

    def renew() -> None:
        # A child counts from zero under its own id, with threads of its own.
        global _installed  # noqa: PLW0603
        _installed = _Providers(service_name, to_otlp=to_otlp)
        recorder.use(_installed.recorder)

    os.register_at_fork(after_in_child=renew)


def use_global_providers() -> None:
    """Records operations with the providers that the host has set up."""
    meter = metrics.get_meter(names.SCOPE, __version__)
    tracer = trace.get_tracer(names.SCOPE, __version__)
    recorder.use(SdkRecorder(tracer, meter, durations(meter)))


def durations(meter: Meter) -> Histogram:
    """The histogram of all operations, in seconds, with the edges of the targets table."""
    try:
        table = targets.load()
    except OrchwatchError as error:
        _logger.warning("%s; using the shipped targets", error)
        table = targets.load(config.Config())
    return meter.create_histogram(
        names.OPERATION_DURATION,
        unit="s",
        description="How long operations took.",
        explicit_bucket_boundaries_advisory=table.edges_s,
    )


def _to_otlp(export: str | None) -> bool:
    source = "export" if export else "ORCHWATCH_EXPORT"
    choice = export or os.environ.get("ORCHWATCH_EXPORT")
    if not choice:
        return otlp.is_configured()
    if choice not in ("spool", "otlp"):
        raise OrchwatchError(f"{source}: must be spool or otlp, not {choice!r}")
    return choice == "otlp"


def _shutdown() -> None:
    global _installed
    installed, _installed = _installed, None
    if installed is not None:
        installed.shutdown()


def _flush_on_sigterm() -> None:
    """Flushes before SIGTERM ends the process, unless the host handles the signal itself."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def flush_and_end(signal_number: int, _frame: FrameType | None) -> None:
        # In a thread of its own: what the signal interrupted may hold a lock that this needs.
        flushing = threading.Thread(target=_shutdown, daemon=True)
        flushing.start()
        flushing.join(SIGTERM_LIMIT_S)
        signal.signal(signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), signal_number)

    signal.signal(signal.SIGTERM, flush_and_end)
