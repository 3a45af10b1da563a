"""What watching costs: ratios against the bare thing, measured side by side in one run.

Run by `make bench-overhead`. Seconds differ from machine to machine, and under load; the variants
of one comparison take turns, so that their ratio does not.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import orchwatch
from orchwatch import operation
from orchwatch.recording import active
from orchwatch.sdk.providers import durations
from orchwatch.sdk.recorder import SdkRecorder
from processes import cost_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

PROCESSES = 40
ROUNDS = 9
OPERATIONS = 5_000

# DESIGN: at most this multiple of the bare thing.
HOOK_LIMIT = 2.5
FAST_LIMIT = 0.6
SDK_LIMIT = 1.2

_MILLISECOND_S = 1e-3

PAYLOAD = b'{"hook_event_name": "PostToolUse", "session_id": "0f2c", "tool_name": "Bash"}'

HOOK = f"""
import sys
sys.path.insert(0, {str(Path(orchwatch.__file__).parents[1])!r})
from orchwatch import operation
from orchwatch.recording.json_text import loads
with operation("hook.process") as op:
    payload = loads(sys.stdin.buffer.read().decode())
    op.set_attribute("session.id", payload["session_id"])
"""

SDK_HOOK = """
import json, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
with provider.get_tracer("hook").start_as_current_span("hook.process") as span:
    payload = json.loads(sys.stdin.buffer.read())
    span.set_attribute("session.id", payload["session_id"])
"""

Verdict = tuple[str, float, float, float | None]


def main() -> int:
    """Prints the comparisons; 3 where one is above its limit."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ORCHWATCH_HOME"] = directory
        verdicts = [*compare_processes(), *compare_calls()]
    print(f"{'':58}{'cost':>12}{'ratio':>8}{'limit':>8}")
    for title, cost, ratio, limit in verdicts:
        allowed = f"{limit:8.1f}" if limit else ""
        unit = f"{cost * 1e3:9.2f} ms" if cost > _MILLISECOND_S else f"{cost * 1e6:9.2f} µs"
        print(f"{title:58}{unit}{ratio:8.2f}{allowed}")
    missed = [title for title, _, ratio, limit in verdicts if limit and ratio > limit]
    for title in missed:
        print(f"above its limit: {title}")
    return 3 if missed else 0


def compare_processes() -> list[Verdict]:
    """CPU seconds of whole processes, user and system, by `wait4`."""
    isolated = [sys.executable, "-I", "-S", "-c"]
    commands = {
        "bare": [*isolated, "pass"],
        "hook": [*isolated, HOOK],
        "sdk": [sys.executable, "-c", SDK_HOOK],
    }
    costs: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(PROCESSES):
        for name, command in commands.items():
            costs[name].append(cost_s(command, PAYLOAD)[1])
    bare, hook, sdk = (statistics.median(costs[name]) for name in commands)
    return [
        ("process: python -I -S -c pass", bare, 1.0, None),
        ("process: a hook, its JSON read, one operation spooled", hook, hook / bare, HOOK_LIMIT),
        ("process: the same with the SDK and an OTLP exporter", sdk, sdk / bare, None),
    ]


def compare_calls() -> list[Verdict]:
    """Seconds of one call in process, the best of each variant's rounds."""
    spooled = _ratio(_operate)
    # The same providers as by hand, so that the difference is ours.
    tracer, meter = _providers()
    active.use(SdkRecorder(tracer, meter, durations(meter)))
    over_sdk = _ratio(_operate)
    return [
        ("call: SDK span and histogram by hand", spooled[1], 1.0, None),
        ("call: operation() on the fast path, into the spool", *spooled[::2], FAST_LIMIT),
        ("call: operation() on the SDK path, with the histogram", *over_sdk[::2], SDK_LIMIT),
    ]


def _ratio(call: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds of a call, seconds of the same by hand, and their ratio."""
    by_hand = _by_hand()
    best = {call: float("inf"), by_hand: float("inf")}
    for _ in range(ROUNDS):
        for variant, before_s in best.items():
            started = time.perf_counter()
            for _ in range(OPERATIONS):
                variant()
            best[variant] = min(before_s, (time.perf_counter() - started) / OPERATIONS)
    return best[call], best[by_hand], best[call] / best[by_hand]


def _operate() -> None:
    with operation("state.query"):
        pass


def _by_hand() -> Callable[[], None]:
    """What a careful engineer writes without this package: a batched span and a histogram."""
    tracer, meter = _providers()
    histogram = meter.create_histogram("bench.duration", unit="s")
    attributes = {"orchestration.operation.name": "state.query"}

    def call() -> None:
        started = time.perf_counter()
        with tracer.start_as_current_span("state.query", attributes=attributes):
            histogram.record(time.perf_counter() - started, attributes)

    return call


def _providers() -> tuple[Tracer, Meter]:
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(_Nowhere(), max_queue_size=OPERATIONS))
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return tracers.get_tracer("bench"), meters.get_meter("bench")


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


if __name__ == "__main__":
    raise SystemExit(main())
