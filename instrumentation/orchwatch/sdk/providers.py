"""`configure`: the OpenTelemetry SDK for long-running processes."""

from __future__ import annotations

import atexit
import logging
import os
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
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import active, otlp_services
from orchwatch.recording.resources import resource_attributes
from orchwatch.recording.spool_recorder import SpoolRecorder
from orchwatch.recording.version import __version__
from orchwatch.sdk import config_file, ending_signals, host_metrics, otlp
from orchwatch.sdk.export import (
    LosslessBatchProcessor,
    MetricsToOtlp,
    MetricsToSpool,
    SpansToOtlp,
    WriteThrough,
)
from orchwatch.sdk.ids import KernelIds
from orchwatch.sdk.periodic_reader import PeriodicReader
from orchwatch.sdk.recorder import SdkRecorder
from orchwatch.targets import config, target_table

if TYPE_CHECKING:
    from typing import Any

    from opentelemetry.metrics import Histogram, Meter

EXPORT_VARIABLE = "ORCHWATCH_EXPORT"

EXIT_LIMIT_S = 0.2
OTLP_METRICS_INTERVAL_S = 5.0  # so that an operation is seen in Prometheus within seconds
SPOOL_METRICS_INTERVAL_S = 60.0  # so that a day of them stays below the target for storage

_INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"

# The SDK would drop the oldest attribute first, which is the operation's name.
_LIMITS = SpanLimits(max_span_attributes=SpanLimits.UNSET)

# Name, version, conventions.
_SCOPE = (semconv.SCOPE, __version__, semconv.SCHEMA_URL)

_logger = logging.getLogger(__name__)


class _ProcessResource(Resource):
    """The resource of this process, as on the fast path, also in a forked child."""

    def __init__(self, service_name: str | None) -> None:
        self._service_name = service_name
        self.renew()

    def renew(self) -> None:
        """Describes the current process; all tracers share this object."""
        super().__init__(resource_attributes(self._service_name), semconv.RESOURCE_SCHEMA_URL)

    def merge(self, other: Resource) -> Resource:
        """Unchanged: in a forked child the SDK would merge in an instance id."""
        return self


class _Providers:
    """A tracer provider and a meter provider with the exporters that they share.

    Args:
        service_name: For the resource; None takes it from the environment.
        to_otlp: Send over OTLP instead of appending to the spool.
    """

    def __init__(self, service_name: str | None, *, to_otlp: bool) -> None:
        self._to_otlp = to_otlp
        self._service_name = service_name
        self._shutting_down = threading.Lock()
        self._shut_down = False
        self._renewing = threading.RLock()
        self._stale = False  # the meter provider is the parent process's
        self._resource = _ProcessResource(service_name)
        # Operations are counted, so all are recorded, whatever a remote parent sampled.
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ALWAYS_ON
        self._processor: LosslessBatchProcessor | WriteThrough = (
            LosslessBatchProcessor(SpansToOtlp(otlp.span_exporter)) if to_otlp else WriteThrough()
        )
        self.tracers = TracerProvider(
            resource=self._resource,
            sampler=sampler,
            shutdown_on_exit=False,
            span_limits=_LIMITS,
            id_generator=KernelIds(),
        )
        # Lets readers of this machine's figures know that these operations are elsewhere.
        self._noted = (
            otlp_services.begin(
                str(self._resource.attributes[semconv.SERVICE_NAME]), otlp.endpoint()
            )
            if to_otlp
            else None
        )
        self._count()
        self.tracers.add_span_processor(self._processor)

    def before_fork(self) -> None:
        """Stops the metrics thread while the process forks."""
        if not (self._stale or self._shut_down):
            self._reader.pause()

    def after_fork(self) -> None:
        """In the parent: restarts the metrics thread."""
        if not (self._stale or self._shut_down):
            self._reader.resume()

    def in_child(self) -> None:
        """In a forked child: it counts from zero, under its own ids, over its own connections.

        The tracer provider stays, as other instrumentations have tracers of it. The meter provider
        is created anew with the child's first operation: most children have none, and an exception
        that a host's signal handler raised in here would be lost.
        """
        self._shutting_down = threading.Lock()
        self._renewing = threading.RLock()
        self._stale = True
        self._resource.renew()
        self._processor.renew()
        self.recorder.retire()

    def renewed(self) -> SdkRecorder:
        """The recorder of this process, created with all that it needs if missing."""
        with self._renewing:
            if self._stale:
                self._stale = False  # the thread that this starts asks for the recorder too
                try:
                    self._count()
                except BaseException:  # a signal handler's
                    self._stale = True
                    raise
                active.use(self.recorder)
        return self.recorder

    def shutdown(self) -> None:
        """Sends or keeps what is pending, waiting for a server no longer than `EXIT_LIMIT_S`.

        A second caller waits until the first is done: SIGTERM may come while the process ends.
        """
        with self._shutting_down:
            if self._shut_down:
                return
            self._shut_down = True
            deadline = time.monotonic() + EXIT_LIMIT_S
            self._processor.close_by(deadline)
            if not self._stale:
                self._metrics_out.close_by(deadline)
            self.tracers.shutdown()
            if not self._stale:
                self.meters.shutdown()
            otlp_services.end(self._noted)

    def _count(self) -> None:
        """Creates the meter provider, and the recorder that uses it."""
        if self._to_otlp:
            self._metrics_out: MetricsToSpool = MetricsToOtlp(otlp.metric_exporter)
            interval_s = OTLP_METRICS_INTERVAL_S
        else:
            self._metrics_out = MetricsToSpool()
            interval_s = SPOOL_METRICS_INTERVAL_S
        # Processes that run side by side must have series of their own.
        instance = {semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())}
        self._reader = PeriodicReader(self._metrics_out, _interval_s(interval_s))
        resource = Resource({**self._resource.attributes, **instance}, semconv.RESOURCE_SCHEMA_URL)
        self.meters = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        meter = self.meters.get_meter(*_SCOPE)
        host_metrics.observe(meter)
        self.recorder = SdkRecorder(
            self.tracers.get_tracer(*_SCOPE),
            meter,
            # The Collector counts the spans of the spool itself.
            durations(meter) if self._to_otlp else None,
        )
        self.recorder.service_name = self._service_name


class _ForkedRecorder:
    """The recorder of a forked child until its first use."""

    def __init__(self, providers: _Providers) -> None:
        self._providers = providers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._providers.renewed(), name)


_installed: _Providers | None = None
_half_applied: OrchwatchError | None = None


def configure(
    *, service_name: str | None = None, export: Literal["spool", "otlp"] | None = None
) -> None:
    """Records the operations of a long-running process over the OpenTelemetry SDK.

    Sets the global tracer and meter providers, so that other instrumentations nest under our
    operations; providers that the host has set up itself are used as they are. A span for the spool
    is written as it ends. Everything else (counters, spans to be sent) is flushed at exit, and on
    SIGTERM and SIGHUP if these would end the process, which waits at most 0.3 s for an unreachable
    server; what could not be sent is written to the spool. A second call changes nothing.

    Where `OTEL_CONFIG_FILE` names a file and nothing else chooses a way out, the file alone says
    what becomes of everything, by the SDK's own means.

    Args:
        service_name: By default `OTEL_SERVICE_NAME`.
        export: `spool`, or `otlp`, configured by the `OTEL_EXPORTER_OTLP_*` variables. By default
            `ORCHWATCH_EXPORT`; else `otlp` if the environment names an endpoint or
            `OTEL_TRACES_EXPORTER=otlp`, else `spool`.

    Raises:
        OrchwatchError: `export` or a variable has an unknown value, or the file cannot be used.
    """
    global _installed, _half_applied  # noqa: PLW0603 - one set of providers a process
    if _installed is not None:
        return
    if _half_applied is not None:
        raise _half_applied
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        use_global_providers()
        return
    file = config_file.path()
    if file and not (export or os.environ.get(EXPORT_VARIABLE)):
        try:
            config_file.apply(file)
        except OrchwatchError as error:
            # What the file set up before it failed cannot be taken back, nor taken for the host's.
            if isinstance(trace.get_tracer_provider(), TracerProvider):
                _half_applied = error
            raise
        use_global_providers()
        return
    _installed = _Providers(service_name, to_otlp=sends_otlp(export))
    trace.set_tracer_provider(_installed.tracers)
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        metrics.set_meter_provider(_installed.meters)
    active.use(_installed.recorder)
    atexit.register(_shutdown)
    ending_signals.finalize(_shutdown)
    signals = ending_signals.EndingSignals(_shutdown)
    # The last before a fork and the first after it, except for the signals, which wait meanwhile.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
    os.register_at_fork(
        before=signals.hold, after_in_parent=signals.release, after_in_child=signals.drop
    )


def sends_otlp(export: str | None = None) -> bool:
    """Whether `configure` sends over OTLP; if not, it appends to the spool.

    Raises:
        OrchwatchError: `export`, or the variable that stands for it, has an unknown value.
    """
    source = "export" if export else EXPORT_VARIABLE
    choice = export or os.environ.get(EXPORT_VARIABLE)
    if not choice:
        return otlp.is_configured()
    if choice not in ("spool", "otlp"):
        raise OrchwatchError(f"{source}: must be spool or otlp, not {choice!r}")
    return choice == "otlp"


def export_metrics() -> None:
    """Exports the current counters and gauges now, whatever the interval."""
    if _installed is not None:
        _installed.meters.force_flush()


def use_global_providers() -> None:
    """Records operations with the providers that the host has set up."""
    name, version, schema_url = _SCOPE
    meter = metrics.get_meter(name, version, schema_url=schema_url)
    tracer = trace.get_tracer(name, version, schema_url=schema_url)
    active.use(SdkRecorder(tracer, meter, durations(meter)))


def durations(meter: Meter) -> Histogram:
    """The histogram of all operations, in seconds, with the edges of the targets table."""
    try:
        table = target_table.load()
    except OrchwatchError as error:
        _logger.warning("%s; using the shipped targets", error)
        table = target_table.load(config.Config())
    return meter.create_histogram(
        semconv.OPERATION_DURATION,
        unit="s",
        description="How long operations took.",
        explicit_bucket_boundaries_advisory=table.edges_s,
    )


def _interval_s(default_s: float) -> float:
    try:
        interval_s = float(os.environ.get(_INTERVAL_VARIABLE) or default_s * 1e3) / 1e3
    except ValueError:
        interval_s = 0.0
    if interval_s > 0:
        return interval_s
    _logger.warning("%s: must be a number of milliseconds above 0", _INTERVAL_VARIABLE)
    return default_s


def _before_fork() -> None:
    if _installed is not None:
        _installed.before_fork()


def _after_fork() -> None:
    if _installed is not None:
        _installed.after_fork()


def _after_fork_in_child() -> None:
    if _installed is None:
        return
    _installed.in_child()
    active.use(_ForkedRecorder(_installed))
    # `multiprocessing` clears the parent's finalizers in a child, then calls this.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_installed, lambda _: ending_signals.finalize(_shutdown))


def _shutdown() -> None:
    global _installed  # noqa: PLW0603
    if _installed is not None:
        # Operations of the host's own exit handlers are recorded without a thread.
        active.use(SpoolRecorder())
        _installed.shutdown()
        _installed = None
