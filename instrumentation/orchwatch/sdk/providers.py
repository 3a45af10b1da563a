"""`configure`: the OpenTelemetry SDK for processes that live long."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
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
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
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
SIGNAL_LIMIT_S = 5.0  # for writing what a dead server has left in a full queue
ENDING_SWITCH_INTERVAL_S = 0.0005
OTLP_METRICS_INTERVAL_S = 5.0  # so that an operation is seen in Prometheus within seconds
SPOOL_METRICS_INTERVAL_S = 60.0  # so that a day of them stays below the target for storage

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal is closed

# The SDK would drop the oldest attribute first, which is the operation's name.
_LIMITS = SpanLimits(max_span_attributes=SpanLimits.UNSET)

_logger = logging.getLogger(__name__)


class _ProcessResource(Resource):
    """This process as the fast path describes it, in a forked child too."""

    def __init__(self, service_name: str | None) -> None:
        self._service_name = service_name
        self.renew()

    def renew(self) -> None:
        """Describes the current process; all tracers share this object."""
        super().__init__(resource_attributes(self._service_name))

    def merge(self, other: Resource) -> Resource:
        """Stays as it is: the SDK merges an instance id into it in a forked child."""
        return self


class _Providers:
    """A tracer and a meter provider with the way out that they share.

    Args:
        service_name: For the resource; None takes it from the environment.
        to_otlp: Send over OTLP instead of appending to the spool.
    """

    def __init__(self, service_name: str | None, *, to_otlp: bool) -> None:
        self._to_otlp = to_otlp
        self._shutting_down = threading.Lock()
        self._shut_down = False
        self._resource = _ProcessResource(service_name)
        # Operations are counted, so all are recorded, whatever a remote parent sampled.
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ALWAYS_ON
        self._spans_out = SpansToOtlp(otlp.span_exporter) if to_otlp else SpansToSpool()
        self.tracers = TracerProvider(
            resource=self._resource, sampler=sampler, shutdown_on_exit=False, span_limits=_LIMITS
        )
        self._count()
        self.tracers.add_span_processor(LosslessBatchProcessor(self._spans_out))

    def renew(self) -> None:
        """In a forked child: it counts from zero, under its own ids, over its own connections.

        The tracer provider stays, as other instrumentations have tracers of it.
        """
        self._shutting_down = threading.Lock()
        self._resource.renew()
        self._spans_out.renew()
        self.recorder.retire()
        self._count()

    def shutdown(self) -> None:
        """Sends or keeps what is left, waiting for a server no longer than `EXIT_LIMIT_S`.

        A second caller waits until the first is done: SIGTERM may come while the process ends.
        """
        with self._shutting_down:
            if self._shut_down:
                return
            deadline = time.monotonic() + EXIT_LIMIT_S
            self._spans_out.close_by(deadline)
            self._metrics_out.close_by(deadline)
            self.tracers.shutdown()
            self.meters.shutdown()
            self._shut_down = True

    def _count(self) -> None:
        """Makes the meter provider, and the recorder that counts with it."""
        if self._to_otlp:
            self._metrics_out: MetricsToSpool = MetricsToOtlp(otlp.metric_exporter)
            interval_s = OTLP_METRICS_INTERVAL_S
        else:
            self._metrics_out = MetricsToSpool()
            interval_s = SPOOL_METRICS_INTERVAL_S
        # The series of processes that run side by side must not be mixed up.
        instance = {names.SERVICE_INSTANCE_ID: str(uuid.uuid4())}
        interval_ms = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL")
        reader = PeriodicExportingMetricReader(
            self._metrics_out, export_interval_millis=None if interval_ms else interval_s * 1000
        )
        resource = Resource({**self._resource.attributes, **instance})
        self.meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self.meters.get_meter(names.SCOPE, __version__)
        host_metrics.observe(meter)
        self.recorder = SdkRecorder(
            self.tracers.get_tracer(names.SCOPE, __version__),
            meter,
            # The Collector counts the spans of the spool itself.
            durations(meter) if self._to_otlp else None,
        )


_installed: _Providers | None = None


def configure(
    *, service_name: str | None = None, export: Literal["spool", "otlp"] | None = None
) -> None:
    """Records the operations of a long-running process over the OpenTelemetry SDK.

    Sets the global tracer and meter providers, so that other instrumentations nest under our
    operations; providers that the host has set up itself are used as they are. Everything is
    flushed at exit, on SIGTERM and on SIGHUP, which waits at most 0.3 s for a server that is
    gone; what could not be sent stays in the spool. A second call changes nothing.

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
    _installed = _Providers(service_name, to_otlp=sends_otlp(export))
    trace.set_tracer_provider(_installed.tracers)
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        metrics.set_meter_provider(_installed.meters)
    recorder.use(_installed.recorder)
    atexit.register(_shutdown)
    _flush_on_signals()
    os.register_at_fork(after_in_child=_renew)


def sends_otlp(export: str | None = None) -> bool:
    """Whether `configure` sends over OTLP; if not, it appends to the spool.

    Raises:
        OrchwatchError: `export`, or the variable that stands for it, has an unknown value.
    """
    source = "export" if export else "ORCHWATCH_EXPORT"
    choice = export or os.environ.get("ORCHWATCH_EXPORT")
    if not choice:
        return otlp.is_configured()
    if choice not in ("spool", "otlp"):
        raise OrchwatchError(f"{source}: must be spool or otlp, not {choice!r}")
    return choice == "otlp"


def export_metrics() -> None:
    """Hands on what counters and gauges say now, whatever the interval."""
    if _installed is not None:
        _installed.meters.force_flush()


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


def _renew() -> None:
    if _installed is None:
        return
    _installed.renew()
    recorder.use(_installed.recorder)
    # A child that `multiprocessing` has forked runs its finalizers, but no exit handlers. It first
    # forgets its parent's and then calls what is registered here.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(
            _installed, lambda _: util.Finalize(None, _shutdown, exitpriority=1)
        )


def _shutdown() -> None:
    global _installed  # noqa: PLW0603
    if _installed is not None:
        # Operations of the host's own exit handlers go the way that needs no thread.
        recorder.use(recorder.SpoolRecorder())
        _installed.shutdown()
        _installed = None


def _flush_on_signals() -> None:
    """Flushes before a signal ends the process, unless the host handles that signal itself."""
    if threading.current_thread() is not threading.main_thread():
        return

    flushing_pid = 0

    def flush_and_end(signal_number: int, _frame: FrameType | None) -> None:
        # The host goes on meanwhile: what the signal interrupted may hold a lock that is needed.
        nonlocal flushing_pid
        if _installed is None:
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)
        elif flushing_pid != os.getpid():
            flushing_pid = os.getpid()
            threading.Thread(target=_flush_and_signal, args=(signal_number,)).start()

    for ending in _ENDING_SIGNALS:
        if signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, flush_and_end)


def _flush_and_signal(signal_number: int) -> None:
    global _installed  # noqa: PLW0603
    # A busy host would take the interpreter back for 5 ms at each of the flush's system calls.
    sys.setswitchinterval(ENDING_SWITCH_INTERVAL_S)
    flushing = threading.Thread(target=_shutdown, daemon=True)
    flushing.start()
    flushing.join(SIGNAL_LIMIT_S)
    _installed = None
    os.kill(os.getpid(), signal_number)
