"""`orchwatch.testing.capture`: what a user's own tests see."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import attach, count, gauge, inject, operation, testing, timed
from orchwatch.recording import active, in_flight
from orchwatch.testing import CapturedMetric, capture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Spans = Any
Run = Any


def names(captured: testing.Captured) -> list[str]:
    return [one.name for one in captured.operations]


def files(home: Path) -> list[str]:
    return [str(path) for path in home.rglob("*")]


def test_an_operation_is_seen_as_it_would_have_been_recorded(home: Path) -> None:
    with (
        capture() as captured,
        attach({"baggage": "session.id=s-17"}),
        operation("agent.spawn") as outer,
        operation("state.query", {"rows": 1}) as op,
    ):
        op.set_attribute("rows", 3)
        op.set_attribute("kinds", ["a", "b"])
    inner, parent = captured.operations
    assert inner.name == "state.query"
    assert inner.attributes == {"session.id": "s-17", "rows": 3, "kinds": ["a", "b"]}
    assert inner.error_type == ""
    assert inner.duration_s >= 0
    assert (inner.trace_id, inner.span_id) == (op.trace_id, op.span_id)
    assert inner.parent_span_id == outer.span_id == parent.span_id
    assert parent.parent_span_id == ""
    assert files(home) == []
    with pytest.raises(FrozenInstanceError):
        inner.name = "other"  # type: ignore[misc]


def test_an_error_is_seen_and_goes_on_unchanged(home: Path) -> None:
    error = KeyError("x")
    with capture() as captured, pytest.raises(KeyError) as raised, operation("o"):
        raise error
    with capture() as failed, operation("o") as op:
        op.fail("timeout")
    assert raised.value is error
    assert captured.operations[0].error_type == "KeyError"
    assert failed.operations[0].error_type == "timeout"
    assert "error.type" not in failed.operations[0].attributes
    assert files(home) == []


def test_counters_and_gauges_are_seen(home: Path) -> None:
    with capture() as captured:
        count("task.completed", attributes={"kind": "a"})
        count("bytes.read", 12, unit="By")
        gauge("queue.length", -0.5)
    assert captured.counters == [
        CapturedMetric("task.completed", 1, {"kind": "a"}, ""),
        CapturedMetric("bytes.read", 12, {}, "By"),
    ]
    assert captured.gauges == [CapturedMetric("queue.length", -0.5, {}, "")]
    assert files(home) == []


def test_losses_are_seen_and_counted_nowhere_else(home: Path, lost: Callable[[], Any]) -> None:
    bad: Any = object()
    with capture() as captured:
        with operation(bad, {"bad": bad, "good": 1}) as op:
            op.set_attribute("worse", bad)
        count("c", -1)
    assert captured.losses == {"bad_name": 1, "bad_attribute": 2, "bad_metric": 1}
    assert captured.operations[0].attributes == {"good": 1}
    assert files(home) == []
    assert lost() == {}
    count("c", -1)
    assert lost() == {"bad_metric": 1}


def test_all_is_recorded_as_before_once_the_block_has_ended(spans: Spans) -> None:
    before = active.recorder
    with pytest.raises(ZeroDivisionError), capture() as captured, operation("captured"):
        raise ZeroDivisionError
    with operation("recorded"):
        pass
    assert active.recorder is before
    assert names(captured) == ["captured"]
    assert [span["name"] for span in spans()] == ["recorded"]


def test_blocks_nest_and_each_sees_what_started_inside(spans: Spans) -> None:
    with capture() as outer:
        with operation("first"):
            pass
        with capture() as inner, operation("second"):
            pass
        with operation("third"):
            pass
    assert names(outer) == ["first", "second", "third"]
    assert names(inner) == ["second"]
    assert spans() == []


def test_blocks_may_end_in_another_order_than_they_began(spans: Spans) -> None:
    first, second = capture(), capture()
    one = first.__enter__()
    two = second.__enter__()
    with operation("both"):
        pass
    first.__exit__(None, None, None)
    with operation("second"):
        pass
    second.__exit__(None, None, None)
    with operation("neither"):
        pass
    assert names(one) == ["both"]
    assert names(two) == ["both", "second"]
    assert [span["name"] for span in spans()] == ["neither"]


def test_a_decorated_function_is_captured_at_each_call(home: Path) -> None:
    @capture()  # as contextlib has it
    def work() -> None:
        with operation("o"):
            pass

    work()
    work()
    assert files(home) == []


def test_an_operation_that_began_outside_is_recorded_and_is_the_parent(spans: Spans) -> None:
    with operation("outside") as outside, capture() as captured:
        with operation("inside"):
            pass
        outside.set_attribute("k", "v")
    (inside,) = captured.operations
    assert inside.parent_span_id == outside.span_id
    assert [span["name"] for span in spans()] == ["outside"]


def test_an_operation_that_outlives_its_block_is_not_written(spans: Spans) -> None:
    op, later = operation("long"), capture()
    with capture() as captured:
        op.__enter__()
    with later as seen_later:
        op.__exit__(None, None, None)
    assert names(captured) == ["long"]
    assert seen_later.operations == []
    assert spans() == []


def test_threads_pools_and_tasks_are_captured_as_children(home: Path) -> None:
    @timed("work")
    def work() -> None:
        pass

    @timed("task")
    async def task() -> None:
        await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(task(), task())

    with capture() as captured:
        with operation("starter") as starter:
            thread = threading.Thread(target=work)
            thread.start()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(work)
            thread.join()
            asyncio.run(tasks())
        other = threading.Thread(target=work)
        other.start()
        other.join()
    *children, _, alone = captured.operations
    assert sorted(one.name for one in children) == ["task", "task", "work", "work"]
    assert {one.parent_span_id for one in children} == {starter.span_id}
    assert alone.parent_span_id == ""
    assert files(home) == []


def test_blocks_of_many_threads_do_not_disturb_each_other(spans: Spans) -> None:
    def work(number: int) -> None:
        for _ in range(50):
            with capture() as captured, operation(f"o.{number}"):
                pass
            assert f"o.{number}" in names(captured)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert spans() == []
    with operation("after"):
        pass
    assert [span["name"] for span in spans()] == ["after"]


def test_the_context_is_handed_on_as_ever() -> None:
    headers: dict[str, str] = {}
    with capture() as captured, operation("sender") as sender:
        inject(headers)
        with attach(headers), operation("receiver"):
            pass
    assert sender.span_id in headers["traceparent"]
    assert captured.operations[0].parent_span_id == sender.span_id


def test_what_is_captured_says_nothing_of_how_long_a_name_takes(home: Path) -> None:
    with capture(), operation("of.a.test"):
        pass
    assert "of.a.test" not in in_flight._short
    with operation("of.a.test"):
        assert any(home.glob("in-flight/*"))


CONFIGURED = """
    import os
    from opentelemetry import trace
    from orchwatch import attach, configure, count, gauge, operation
    from orchwatch.testing import capture
    home = os.environ["ORCHWATCH_HOME"]
    before = {before}
    if before: configure(export="spool")
    with capture() as captured:
        with operation("early"): pass
        configure(export="spool")
        with attach({{"baggage": "session.id=s-17"}}), operation("outer") as outer:
            with operation("inner", {{"n": 1}}) as op:
                op.set_attribute("kinds", ["a"])
                count("c", 2)
                gauge("g", 3)
                here = trace.get_current_span().get_span_context()
                assert f"{{here.span_id:016x}}" == op.span_id
    early, inner, parent = captured.operations
    assert early.name == "early"
    assert inner.attributes == {{"session.id": "s-17", "n": 1, "kinds": ["a"]}}, inner
    assert inner.parent_span_id == parent.span_id == outer.span_id
    assert [one.value for one in captured.counters + captured.gauges] == [2, 3]
    assert not os.path.exists(home), os.listdir(home)
    with operation("recorded"): pass
    assert len(captured.operations) == 3
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_configured_process_is_captured_too(
    run_python: Run, spans: Spans, lines: Callable[[str], Any], *, before: bool
) -> None:
    run_python(CONFIGURED.format(before=before))
    assert [span["name"] for span in spans()] == ["recorded"]
    metrics, _ = lines("metrics")
    written = [
        metric["name"]
        for line in metrics
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
    ]
    assert written  # those of the process itself
    assert not {"c", "g"} & set(written)


@pytest.mark.parametrize("configured", [True, False])
def test_a_forked_child_writes_nothing_either(
    run_python: Run, home: Path, spans: Spans, *, configured: bool
) -> None:
    run_python(f"""
        import os
        from orchwatch import configure, operation
        from orchwatch.testing import capture
        if {configured}: configure(export="spool")
        with capture() as captured:
            child = os.fork()
            with operation("o"): pass
            assert [one.name for one in captured.operations] == ["o"]
            if not child: os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    """)
    assert spans() == []
    assert not (home / "in-flight").exists()


def test_the_host_s_own_providers_get_nothing(run_python: Run, home: Path) -> None:
    run_python("""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from orchwatch import OrchestrationInstrumentor, operation
        from orchwatch.testing import capture
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        instrumentor = OrchestrationInstrumentor()
        with capture() as captured:
            instrumentor.instrument(callables={})
            with operation("captured"): pass
        with operation("exported"): pass
        with capture():
            instrumentor.uninstrument()
        with operation("spooled"): pass
        assert [one.name for one in captured.operations] == ["captured"]
        assert [span.name for span in exporter.get_finished_spans()] == ["exported"]
    """)
    assert len(list((home / "spool").glob("operations-*"))) == 1
