"""Long-running services over OTLP beside short processes through the spool: one meaning."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.stack.conftest import (
    DURATION,
    Span,
    buckets,
    counted,
    eventually,
    expected_buckets,
    finish,
    get,
    programs,
    run,
    samples,
    selector,
    spooled,
    stored,
    value,
)

from orchwatch import semconv

if TYPE_CHECKING:
    from native import Stack

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("shared stack")

OPERATIONS = 60
COUNTERS = 8
ADDED = 200  # by each of the counters

RESOURCES = {
    "process_cpu_time_seconds_total",
    "process_cpu_utilization_ratio",
    "process_disk_io_bytes_total",
    "process_memory_usage_bytes",
    "process_thread_count",
    "process_unix_file_descriptor_count",
    "process_uptime_seconds",
    "system_cpu_utilization_ratio",
    "system_disk_io_bytes_total",
    "system_filesystem_usage_bytes",
    "system_memory_usage_bytes",
    "system_memory_utilization_ratio",
}

# Prints the ids of what it records, for the test to hold against what has arrived.
SERVICE_PROGRAM = """
    import hashlib, sys
    from contextlib import suppress
    from orchwatch import configure, count, gauge, operation

    if sys.argv[2]:
        configure(export=sys.argv[2])
    input()
    for number in range(int(sys.argv[1])):
        with suppress(TimeoutError), operation("state.query") as op:
            print(op.trace_id, op.span_id)
            hashlib.sha256(bytes(1000 * number)).digest()
            if number % 10 == 0:
                raise TimeoutError
        count("orchestration.task.completed", 2, {"gen_ai.agent.name": "reviewer"}, unit="{task}")
    gauge("orchestration.agent.active", 3, unit="{agent}")
"""


class Way(NamedTuple):
    """A way out, and what the service that took it recorded."""

    service: str
    emitted: list[list[str]]  # trace and span id


def otlp_environment(stack: Stack, protocol: str) -> dict[str, str]:
    endpoint = stack.otlp_grpc_url if protocol == "grpc" else stack.otlp_http_url
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }


@pytest.fixture(scope="module", params=["http/protobuf", "grpc"])
def over_otlp(stack: Stack, request: pytest.FixtureRequest) -> Way:
    protocol: str = request.param
    service = f"otlp-{protocol}"
    environment = otlp_environment(stack, protocol)
    out = run(stack, service, SERVICE_PROGRAM, str(OPERATIONS), "otlp", environment=environment)
    assert not spooled(stack, service), "a span takes one way out"
    assert not spooled(stack, service, "undelivered")
    return Way(service, [line.split() for line in out.splitlines()])


def arrived(stack: Stack, way: Way) -> list[Span]:
    """The spans in Tempo, once they are those that were recorded."""
    traces = eventually(
        lambda: all(found := [stored(stack, trace_id) for trace_id, _ in way.emitted]) and found
    )
    assert traces
    spans = [span for trace in traces for span in trace]
    assert [[span.trace_id, span.span_id] for span in spans] == way.emitted
    return spans


def test_a_service_counts_its_operations_itself_and_once(stack: Stack, over_otlp: Way) -> None:
    spans = arrived(stack, over_otlp)
    service = over_otlp.service
    assert eventually(lambda: counted(stack, service=service) == OPERATIONS)
    failed = {"status_code": semconv.STATUS_ERROR, "error_type": "TimeoutError"}
    found = buckets(stack, service=service, operation="state.query", **failed)
    assert found == expected_buckets(span for span in spans if span.error_type)
    found = buckets(stack, service=service, operation="state.query", status_code=semconv.STATUS_OK)
    assert found == expected_buckets(span for span in spans if not span.error_type)

    # Whoever counts spans had seen these before those that come later.
    later = f"after {service}"
    run(stack, later, SERVICE_PROGRAM, "1", "")
    assert eventually(lambda: counted(stack, service=later)) == 1
    assert counted(stack, service=service) == OPERATIONS


def test_both_ways_out_give_the_same_series(stack: Stack, over_otlp: Way) -> None:
    beside = f"beside {over_otlp.service}"
    run(stack, beside, SERVICE_PROGRAM, "2", "")

    def series(service: str) -> set[frozenset[tuple[str, str]]]:
        found = samples(stack, f'{{__name__=~"orchestration_.*",service_name="{service}"}}')
        return {frozenset(labels.items() - identity(labels).items()) for labels, _ in found}

    eventually(lambda: series(beside) == series(over_otlp.service))
    assert series(beside) == series(over_otlp.service)


def identity(labels: dict[str, str]) -> dict[str, str]:
    """Whose series it is; only a process that sends its own sums has an instance of its own."""
    return {name: labels[name] for name in ("job", "service_name", "instance") if name in labels}


def test_an_exemplar_of_a_service_opens_its_trace(stack: Stack, over_otlp: Way) -> None:
    def exemplars() -> list[dict[str, dict[str, str]]]:
        found = get(
            f"{stack.prometheus_url}/api/v1/query_exemplars",
            query=f"{DURATION}_bucket{selector(service=over_otlp.service)}",
            start=time.time() - 600,
            end=time.time() + 60,
        )
        return [one for series in found["data"] for one in series["exemplars"]]

    spans = {span.span_id: span for span in arrived(stack, over_otlp)}
    assert eventually(exemplars)
    for exemplar in exemplars():
        span = spans[exemplar["labels"]["span_id"]]
        assert exemplar["labels"]["trace_id"] == span.trace_id
        assert float(str(exemplar["value"])) == span.duration_s


@pytest.mark.parametrize("export", ["", "spool"])
def test_counters_and_gauges_have_one_name_whatever_the_way_out(
    stack: Stack, over_otlp: Way, export: str
) -> None:
    service = f"{over_otlp.service} against {export or 'the fast path'}"
    run(stack, service, SERVICE_PROGRAM, str(OPERATIONS), export)

    def told(by: str) -> list[float | None]:
        own = f'{{service_name="{by}"}}'
        metrics = (f"orchestration_task_completed_total{own}", f"orchestration_agent_active{own}")
        return [value(stack, metric) for metric in metrics]

    assert eventually(lambda: told(service) == told(over_otlp.service) == [2 * OPERATIONS, 3])


def test_processes_that_count_at_once_add_up_exactly(stack: Stack) -> None:
    counting = """
        import sys
        from orchwatch import count

        input()
        for _ in range(int(sys.argv[1])):
            count("orchestration.task.completed", unit="{task}")
    """
    with programs(stack, "counting", counting, str(ADDED), number=COUNTERS) as processes:
        finish(processes)
    completed = 'orchestration_task_completed_total{service_name="counting"}'
    assert eventually(lambda: value(stack, completed) == COUNTERS * ADDED)
    assert len(samples(stack, completed)) == 1
    assert samples(stack, 'target_info{job="counting"}') == []


def test_a_service_reports_what_it_and_its_host_use_with_units(stack: Stack) -> None:
    query = '{__name__=~"(process|system)_.*",service_name="resources"}'
    often = {**otlp_environment(stack, "http/protobuf"), "OTEL_METRIC_EXPORT_INTERVAL": "300"}

    def found() -> dict[str, float]:
        return {labels["__name__"]: used for labels, used in samples(stack, query)}

    started_s = time.monotonic()
    with programs(stack, "resources", SERVICE_PROGRAM, "0", "otlp", environment=often) as service:
        eventually(lambda: set(found()) == RESOURCES)
        finish(service)
    used = found()
    assert set(used) == RESOURCES
    assert 0 < used["system_memory_utilization_ratio"] < 1
    assert 10 * 2**20 < used["process_memory_usage_bytes"] < 2**30
    # The system says in whole seconds when it was booted.
    assert 0 < used["process_uptime_seconds"] < time.monotonic() - started_s + 2
