from __future__ import annotations

import signal
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.targets import target_table

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.sdk.conftest import Receiver

    Run = Callable[..., str]
    Start = Callable[..., subprocess.Popen[str]]
    Kept = Callable[[str], list[dict[str, Any]]]
    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]
    Lost = Callable[[], dict[str, int]]

EXIT_LIMIT_S = 2.0  # generous on busy processors; the SDK's own takes seven seconds

START = """
import sys, threading, time
import orchwatch
from orchwatch import count, gauge, operation
orchwatch.configure()
from opentelemetry import trace
def flush():
    trace.get_tracer_provider().force_flush()
"""

# Where all must be sent: busy processors would turn some of it into what is kept.
PATIENT_START = f"""
from orchwatch.sdk import providers
providers.EXIT_LIMIT_S = 30.0
{START}
"""

# Ends by saying how long its exit takes, from the outside of all exit handlers.
TIMED_EXIT = """
import atexit, time
ending = []
atexit.register(lambda: print(time.monotonic() - ending[0]))
"""

TEN_OPERATIONS = """
for number in range(10):
    with operation("state.query", {"number": number}) as op:
        if number % 5 == 0: op.fail("timeout")
count("tasks", 3)
"""


def test_every_span_arrives_once_with_all_it_says(
    run_python: Run, receiver: Receiver, home: Path
) -> None:
    run_python(PATIENT_START + TEN_OPERATIONS, OTEL_SERVICE_NAME="app")

    spans = receiver.spans()
    numbers = sorted(int(span["attributes"]["number"]) for span in spans)
    assert numbers == list(range(10))
    assert len({span["span_id"] for span in spans}) == 10
    failed = [span for span in spans if span["status"] == 2]
    assert [span["attributes"]["error.type"] for span in failed] == ["timeout", "timeout"]
    for span in spans:
        assert span["attributes"]["orchestration.operation.name"] == "state.query"
        assert span["resource"]["service.name"] == "app"
        assert "service.instance.id" not in span["resource"]
        assert span["scope"][0] == "orchwatch"
    assert not list((home / "spool").glob("undelivered-*"))
    assert not list((home / "spool").glob("operations-*"))


def test_the_histogram_has_the_tables_edges_exact_counts_and_exemplars(
    run_python: Run, receiver: Receiver
) -> None:
    run_python(
        PATIENT_START
        + """
for number in range(300):
    with operation("state.query"): pass
for number in range(40):
    with operation("agent.spawn") as op: op.fail("timeout")
"""
    )

    metric = receiver.metric("orchestration.operation.duration")
    assert metric.unit == "s"
    points = {
        tuple(sorted((a.key, a.value.string_value) for a in point.attributes)): point
        for point in metric.histogram.data_points
    }
    good = (("orchestration.operation.name", "state.query"), ("status.code", "STATUS_CODE_OK"))
    bad = (
        ("error.type", "timeout"),
        ("orchestration.operation.name", "agent.spawn"),
        ("status.code", "STATUS_CODE_ERROR"),
    )
    assert {labels: point.count for labels, point in points.items()} == {good: 300, bad: 40}
    traces = {span["trace_id"] for span in receiver.spans()}
    for point in points.values():
        assert tuple(point.explicit_bounds) == target_table.load().edges_s
        assert sum(point.bucket_counts) == point.count
        assert point.exemplars
        for exemplar in point.exemplars:
            assert exemplar.trace_id.hex() in traces
            bucket = bisect_left(point.explicit_bounds, exemplar.as_double)
            assert point.bucket_counts[bucket]


def test_counters_and_gauges_arrive_under_an_instance_of_their_own(
    run_python: Run, receiver: Receiver
) -> None:
    run_python(
        PATIENT_START
        + """
count("tasks", 2, {"kind": "a"})
count("tasks", 0.5, {"kind": "b"})
gauge("depth", 3, unit="{message}")
gauge("depth", 5, unit="{message}")
"""
    )

    tasks = receiver.metric("tasks")
    assert tasks.sum.is_monotonic
    assert sorted(p.as_int or p.as_double for p in tasks.sum.data_points) == [0.5, 2]
    (point,) = receiver.metric("depth").gauge.data_points
    assert point.as_int == 5
    for resource in receiver.metric_resources():
        assert resource["service.instance.id"]


@pytest.mark.parametrize("behaviour", ["unavailable", "silent"])
def test_a_server_that_does_not_take_them_delays_no_exit_and_all_are_kept(
    run_python: Run, receiver: Receiver, kept: Kept, lines: Lines, behaviour: str
) -> None:
    receiver.behaviour = behaviour

    took_s = float(
        run_python(TIMED_EXIT + START + TEN_OPERATIONS + "ending.append(time.monotonic())")
    )

    assert took_s < EXIT_LIMIT_S
    _assert_all_kept(kept, lines)


def test_a_server_that_resets_connections_delays_no_exit_and_all_are_kept(
    run_python: Run, kept: Kept, lines: Lines, resetting: Receiver
) -> None:
    code = TIMED_EXIT + START + TEN_OPERATIONS + "ending.append(time.monotonic())"

    took_s = float(run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT=resetting.endpoint))

    assert took_s < EXIT_LIMIT_S
    _assert_all_kept(kept, lines)


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
@pytest.mark.parametrize("behaviour", ["redirect", "page"])
def test_what_is_answered_by_something_else_than_a_server_is_kept(
    run_python: Run, receiver: Receiver, kept: Kept, lines: Lines, behaviour: str
) -> None:
    receiver.behaviour = behaviour

    run_python(START + TEN_OPERATIONS)

    _assert_all_kept(kept, lines)


@pytest.mark.parametrize("answers_json", [False, True])
def test_what_the_server_refuses_of_a_request_is_counted(
    run_python: Run, receiver: Receiver, kept: Kept, lost: Lost, answers_json: bool
) -> None:
    receiver.refused_spans = 3
    receiver.refused_points = 2
    receiver.answers_json = answers_json

    run_python(PATIENT_START + TEN_OPERATIONS)

    assert len(receiver.spans()) == 7
    assert kept("undelivered") == []
    assert lost() == {"refused": 5}


def test_a_request_that_the_server_refuses_altogether_is_kept(
    run_python: Run, receiver: Receiver, kept: Kept, lines: Lines, lost: Lost
) -> None:
    receiver.refused_spans = receiver.refused_points = 1000

    run_python(PATIENT_START + TEN_OPERATIONS)

    _assert_all_kept(kept, lines)
    assert lost() == {}


def test_a_dead_server_delays_no_exit_and_all_are_kept(
    run_python: Run, protocol: str, refusing: str, kept: Kept, lines: Lines
) -> None:
    code = TIMED_EXIT + START + TEN_OPERATIONS + "ending.append(time.monotonic())"

    took_s = float(
        run_python(code, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_EXPORTER_OTLP_ENDPOINT=refusing)
    )

    assert took_s < EXIT_LIMIT_S
    _assert_all_kept(kept, lines)


def _assert_all_kept(kept: Kept, lines: Lines) -> None:
    spans = kept("undelivered")
    numbers = sorted(int(span["attributes"]["number"]["intValue"]) for span in spans)
    assert numbers == list(range(10))
    parsed, unreadable = lines("metrics")
    assert not unreadable
    metrics = {
        metric["name"]: metric
        for line in parsed
        for resource in line["resourceMetrics"]
        for scope in resource.get("scopeMetrics", [])
        for metric in scope["metrics"]
    }
    (tasks,) = metrics["tasks"]["sum"]["dataPoints"]
    assert tasks["asInt"] == "3"
    points = metrics["orchestration.operation.duration"]["histogram"]["dataPoints"]
    assert sorted(int(point["count"]) for point in points) == [2, 8]
    assert not any("exemplars" in point for point in points)


def test_a_server_that_dies_and_returns_gets_what_comes_later(
    start_python: Start, receiver: Receiver, protocol: str, kept: Kept
) -> None:
    process = start_python(
        START
        + """
from orchwatch.sdk import delivery
delivery.RETRY_AFTER_S = 0.0
for phase in ("before", "while", "after"):
    for _ in range(50):
        with operation(phase): pass
    flush()
    print(phase, flush=True)
    sys.stdin.readline()
"""
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "before\n"
    receiver.stop()
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "while\n"
    receiver.start(protocol)
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "after\n"
    print(file=process.stdin, flush=True)
    assert process.wait(60) == 0

    delivered = [(span["name"], span["span_id"]) for span in receiver.spans()]
    undelivered = [(span["name"], span["spanId"]) for span in kept("undelivered")]
    assert len(set(delivered)) == len(delivered)
    assert {name for name, _ in delivered} >= {"before"}
    assert {name for name, _ in undelivered} >= {"while"}
    emitted = {*delivered, *undelivered}
    assert sorted(name for name, _ in emitted) == ["after"] * 50 + ["before"] * 50 + ["while"] * 50


def test_a_slow_server_does_not_block_and_loses_nothing(
    run_python: Run, kept: Kept, slow: Receiver
) -> None:
    longest_s = float(
        run_python(
            START
            + """
longest = 0.0
for number in range(100_000):
    started = time.monotonic()
    with operation("quick"): pass
    longest = max(longest, time.monotonic() - started)
print(longest)
""",
            OTEL_EXPORTER_OTLP_ENDPOINT=slow.endpoint,
        )
    )

    undelivered = {span["spanId"] for span in kept("undelivered")}
    assert len({*slow.span_ids(), *undelivered}) == 100_000
    assert longest_s < EXIT_LIMIT_S


def test_a_span_that_finds_the_queue_full_is_kept_at_once(
    run_python: Run, refusing: str, kept: Kept
) -> None:
    run_python(
        """
import orchwatch
from orchwatch.sdk import export
export.MAX_QUEUE_SIZE = 512
orchwatch.configure(export="otlp")
from orchwatch import operation
from opentelemetry import trace
held = trace.get_tracer_provider()._active_span_processor._span_processors[0]._batch_processor
with held._export_lock:  # nothing leaves the queue
    for _ in range(2000):
        with operation("quick"): pass
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=refusing,
    )

    assert len(kept("undelivered")) == 2000


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_full_queue_is_kept_when_the_process_ends_beside_a_silent_server(
    start_python: Start, receiver: Receiver, kept: Kept, ending: str
) -> None:
    receiver.behaviour = "silent"
    process = start_python(
        START
        + f"""
import os, signal
for _ in range(20_000):
    with operation("quick"): pass
{ending}
"""
    )

    assert process.wait(60) == (-signal.SIGTERM if ending else 0)

    assert len({span["spanId"] for span in kept("undelivered")}) == 20_000


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
def test_sigterm_while_the_process_ends_cuts_nothing_off(
    start_python: Start, receiver: Receiver, kept: Kept
) -> None:
    receiver.behaviour = "silent"
    process = start_python(
        """
import atexit, os, signal, threading
import orchwatch
from orchwatch import operation
orchwatch.configure()
def terminate():
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
atexit.register(terminate)  # the last to be registered is the first to run
for _ in range(5_000):
    with operation("quick"): pass
"""
    )

    process.wait(60)

    assert len({span["spanId"] for span in kept("undelivered")}) == 5_000
