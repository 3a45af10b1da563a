from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.sdk.conftest import Receiver

    Run = Callable[..., str]
    Start = Callable[..., subprocess.Popen[str]]
    Kept = Callable[[str], list[dict[str, Any]]]

LIMIT_S = 30

START = """
import os, signal, sys, threading
import orchwatch
from orchwatch import count, operation
"""
TO_SPOOL = START + "orchwatch.configure(export='spool')\n"


def _named(spans: list[dict[str, Any]]) -> list[str]:
    return sorted(span["name"] for span in spans)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError", 1),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait(30)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGHUP); threading.Event().wait(30)", -signal.SIGHUP),
    ],
)
def test_everything_is_flushed_however_the_process_ends(
    start_python: Start, kept: Kept, ending: str, code: int
) -> None:
    process = start_python(
        TO_SPOOL
        + "for number in range(1000):\n    with operation('state.query'): pass\n"
        + "count('tasks', 7)\n"
        + ending
    )

    _, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == code, err
    assert len(kept("operations")) == 1000


def test_sigterm_in_the_middle_of_an_operation_ends_the_process_and_keeps_those_that_ended(
    start_python: Start, kept: Kept
) -> None:
    process = start_python(
        TO_SPOOL
        + """
with operation("unfinished"):
    with operation("finished"): pass
    print("ready", flush=True)
    while True:
        with operation("busy"): pass
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.terminate()

    assert process.wait(LIMIT_S) == -signal.SIGTERM
    names = _named(kept("operations"))
    assert "finished" in names
    assert "unfinished" not in names


def test_the_hosts_own_handler_for_sigterm_stays(run_python: Run, kept: Kept) -> None:
    out = run_python(
        START
        + """
signal.signal(signal.SIGTERM, lambda *_: print("mine"))
orchwatch.configure(export="spool")
with operation("before"): pass
signal.raise_signal(signal.SIGTERM)
with operation("after"): pass
"""
    )

    assert out == "mine\n"
    assert _named(kept("operations")) == ["after", "before"]


def test_an_ignored_sigterm_stays_ignored(run_python: Run, kept: Kept) -> None:
    run_python(
        START
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
orchwatch.configure(export="spool")
signal.raise_signal(signal.SIGTERM)
with operation("after"): pass
"""
    )

    assert _named(kept("operations")) == ["after"]


def test_operations_of_exit_handlers_and_of_threads_that_outlive_the_shutdown_are_kept(
    run_python: Run, kept: Kept
) -> None:
    run_python(
        START
        + """
import atexit
def late():
    with operation("late"): pass
    outer.__exit__(None, None, None)
    with tracer.start_as_current_span("another's"): pass
atexit.register(late)  # runs after all that is registered later
orchwatch.configure(export="spool")
from opentelemetry import trace
tracer = trace.get_tracer("library")
outer = operation("started before")
outer.__enter__()
"""
    )

    assert _named(kept("operations")) == ["another's", "late", "started before"]


def test_a_second_call_changes_nothing(run_python: Run, kept: Kept) -> None:
    out = run_python(
        START
        + """
orchwatch.configure(service_name="first", export="spool")
threads = threading.active_count()
orchwatch.configure(service_name="second", export="otlp")
with operation("state.query"): pass
print(threading.active_count() - threads)
"""
    )

    assert out == "0\n"
    (span,) = kept("operations")
    assert span["resource"]["service.name"] == {"stringValue": "first"}


def test_providers_of_the_host_are_used_as_they_are(run_python: Run, home: Path) -> None:
    out = run_python(
        START
        + """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
threads = threading.active_count()
orchwatch.configure()
orchwatch.configure()
assert trace.get_tracer_provider() is tracers
assert threading.active_count() == threads
with operation("outer") as op:
    with trace.get_tracer("host").start_as_current_span("middle"):
        with operation("inner"): pass
inner, middle, outer = exporter.get_finished_spans()
assert (inner.name, middle.name, outer.name) == ("inner", "middle", "outer")
assert inner.parent.span_id == middle.context.span_id
assert middle.parent.span_id == outer.context.span_id
assert f"{outer.context.trace_id:032x}" == op.trace_id
(of_resource,) = reader.get_metrics_data().resource_metrics
(of_scope,) = of_resource.scope_metrics
(metric,) = of_scope.metrics
print(metric.name, sum(point.count for point in metric.data.data_points))
"""
    )

    assert out == "orchestration.operation.duration 2\n"
    assert not (home / "spool").exists()


def test_a_meter_provider_of_the_host_alone_stays(run_python: Run, kept: Kept) -> None:
    run_python(
        START
        + """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
meters = MeterProvider()
metrics.set_meter_provider(meters)
orchwatch.configure(export="spool")
assert metrics.get_meter_provider() is meters
with operation("state.query"): pass
"""
    )

    assert _named(kept("operations")) == ["state.query"]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ("export='file'", {}, "export: must be spool or otlp, not 'file'"),
        ("", {"ORCHWATCH_EXPORT": "x"}, "ORCHWATCH_EXPORT: must be spool or otlp, not 'x'"),
        (
            "export='otlp'",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf or grpc, not 'http/json'",
        ),
    ],
)
def test_an_unknown_value_is_one_clear_line(
    run_python: Run, arguments: str, environment: dict[str, str], message: str
) -> None:
    out = run_python(
        START
        + f"""
try: orchwatch.configure({arguments})
except orchwatch.OrchwatchError as error: print(error)
with operation("state.query"): pass
""",
        **environment,
    )

    assert out == f"{message}\n"


def test_a_broken_configuration_is_one_warning_and_the_host_goes_on(
    start_python: Start, tmp_path: Path, kept: Kept
) -> None:
    broken = tmp_path / "orchwatch.toml"
    broken.write_text("[operations.'state.query']\ntarget_s = -1\n")
    process = start_python(
        START + "orchwatch.configure(export='otlp')\nwith operation('state.query'): pass\n",
        ORCHWATCH_CONFIG=str(broken),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )

    _, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 0
    (line,) = [line for line in err.splitlines() if str(broken) in line]
    assert "target_s" in line
    assert _named(kept("undelivered")) == ["state.query"]


FORKED = {
    "fork and exit": """
pid = os.fork()
if not pid:
    work("child")
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
""",
    "multiprocessing": """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=work, args=("child",))
process.start()
process.join()
assert process.exitcode == 0
""",
    "a pool of processes": """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
    pool.submit(work, "child").result()
""",
    "a terminated child": """
ready, tell = os.pipe()
pid = os.fork()
if not pid:
    work("child")
    os.write(tell, b"x")
    threading.Event().wait(30)
os.read(ready, 1)
os.kill(pid, signal.SIGTERM)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
""",
    "a grandchild": """
pid = os.fork()
if not pid:
    pid = os.fork()
    if not pid:
        work("child")
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
""",
}

FORKING = """
from opentelemetry import trace
library = trace.get_tracer("library")
def work(name):
    for _ in range(100):
        with operation(name): pass
    with library.start_as_current_span(f"{name}'s library"): pass
    count("tasks", 100)
work("parent")
with operation("outer"):
"""


@pytest.mark.parametrize("shape", FORKED)
def test_a_forked_child_records_under_its_own_pid_in_its_parents_trace_and_loses_nothing(
    run_python: Run, kept: Kept, shape: str
) -> None:
    inside = "".join(f"    {line}\n" for line in FORKED[shape].splitlines())
    run_python(TO_SPOOL + FORKING + inside + "work('after')\n")

    spans = kept("operations")
    assert _named(spans) == sorted(
        [
            *["parent", "child", "after"] * 100,
            *["parent's library", "child's library", "after's library", "outer"],
        ]
    )
    (outer,) = [span for span in spans if span["name"] == "outer"]
    parent_pid = outer["resource"]["process.pid"]
    of_child = [span for span in spans if span["name"].startswith("child")]
    assert len({span["resource"]["process.pid"]["intValue"] for span in of_child}) == 1
    for span in spans:
        child = span["name"].startswith("child")
        assert (span["resource"]["process.pid"] != parent_pid) == child
        assert "service.instance.id" not in span["resource"]
        if child:
            assert (span["traceId"], span["parentSpanId"]) == (outer["traceId"], outer["spanId"])


def test_forked_children_send_their_own_counts_once_over_otlp(
    run_python: Run, receiver: Receiver, kept: Kept
) -> None:
    # The shape of a pre-fork server: operations before the fork, connections in use.
    run_python(
        START
        + """
from orchwatch.sdk import providers
providers.EXIT_LIMIT_S = 30.0  # busy processors must not turn what is sent into what is kept
orchwatch.configure()
from opentelemetry import trace
def work(name, times):
    for _ in range(times):
        with operation(name): pass
    count("tasks", times)
work("parent", 600)
trace.get_tracer_provider().force_flush()
children = []
for number in range(3):
    pid = os.fork()
    if not pid:
        work("child", 600 + number)
        sys.exit()
    children.append(pid)
work("parent", 5)
for pid in children: assert os.waitpid(pid, 0)[1] == 0
"""
    )

    delivered = receiver.spans()
    ids = {span["span_id"] for span in delivered} | {s["spanId"] for s in kept("undelivered")}
    assert len(ids) == 605 + 600 + 601 + 602
    assert len({span["resource"]["process.pid"] for span in delivered}) == 4
    metrics = receiver.metrics()
    counted = {
        pid: sum(point.count for point in metric.histogram.data_points)
        for (name, pid), metric in metrics.items()
        if name == "orchestration.operation.duration"
    }
    assert sorted(counted.values()) == [600, 601, 602, 605]
    tasks = [
        metric.sum.data_points[0].as_int for (name, _), metric in metrics.items() if name == "tasks"
    ]
    assert sorted(tasks) == [600, 601, 602, 605]
    instances = {
        (resource["process.pid"], resource["service.instance.id"])
        for resource in receiver.metric_resources()
    }
    assert len(instances) == 4


def test_a_child_that_forks_while_others_record_does_not_hang(run_python: Run, kept: Kept) -> None:
    run_python(
        TO_SPOOL
        + """
stop = threading.Event()
def record():
    while not stop.is_set():
        with operation("busy"): count("busy")
threads = [threading.Thread(target=record) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(10):
    pid = os.fork()
    if not pid:
        with operation("child"): count("child")
        orchwatch.sdk.providers._shutdown()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    )

    assert _named(kept("operations")).count("child") == 10


def test_the_sdk_is_left_as_its_own_variables_say(run_python: Run, home: Path) -> None:
    out = run_python(
        TO_SPOOL + "with operation('state.query') as op: print(op.trace_id)\n",
        OTEL_SDK_DISABLED="true",
    )

    assert out == f"{0:032x}\n"
    assert not list((home / "spool").glob("operations-*"))


def test_a_sampled_out_parent_does_not_stop_the_counting(run_python: Run, kept: Kept) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    run_python(
        TO_SPOOL + "with operation('state.query'): pass\n",
        TRACEPARENT=f"00-{trace_id}-b7ad6b7169203331-00",
    )

    (span,) = kept("operations")
    assert span["traceId"] == trace_id


def test_a_burst_before_sigterm_is_flushed(start_python: Start, kept: Kept) -> None:
    process = start_python(
        TO_SPOOL
        + """
for number in range(20_000):
    with operation("burst"): pass
print("done", flush=True)
threading.Event().wait(30)
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    started = time.monotonic()

    process.terminate()

    assert process.wait(LIMIT_S) == -signal.SIGTERM
    assert time.monotonic() - started < LIMIT_S / 3
    assert len(kept("operations")) == 20_000


def test_the_last_metrics_are_written_at_exit(
    run_python: Run, lines: Callable[[str], tuple[list[dict[str, Any]], int]]
) -> None:
    run_python(TO_SPOOL + "count('tasks', 7)\ncount('tasks', 7)\n")

    parsed, unreadable = lines("metrics")
    assert not unreadable
    assert '"asInt": "14"' in json.dumps(parsed[-1])


@pytest.mark.parametrize("start", [START, TO_SPOOL], ids=["spool", "configured"])
def test_ids_do_not_repeat_in_programs_that_seed_random(
    run_python: Run, kept: Kept, start: str
) -> None:
    for _ in range(3):
        run_python(
            start
            + """
import random
for _ in range(3):
    random.seed(7)
    for _ in range(5):
        with operation("outer"):
            with operation("inner"): pass
"""
        )

    spans = kept("operations")
    assert len(spans) == 90
    assert len({span["spanId"] for span in spans}) == 90
    assert len({span["traceId"] for span in spans}) == 45
