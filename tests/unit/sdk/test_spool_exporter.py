from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]
    Named = Callable[[str], dict[str, Any]]
    Lost = Callable[[], dict[str, int]]

START = """
import orchwatch
from orchwatch.recording import losses
from orchwatch import operation
orchwatch.configure(export="spool")
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
tracer = trace.get_tracer("library", "1.2", attributes={"of": "scope"})
"""


def test_spans_of_other_instrumentations_nest_with_operations(
    run_python: Run, named: Named
) -> None:
    run_python(
        START
        + """
with tracer.start_as_current_span("server"):
    with operation("outer"):
        with tracer.start_as_current_span("client"):
            with operation("inner"): pass
"""
    )

    server, outer, client, inner = (named(name) for name in ("server", "outer", "client", "inner"))
    assert "parentSpanId" not in server
    assert outer["parentSpanId"] == server["spanId"]
    assert client["parentSpanId"] == outer["spanId"]
    assert inner["parentSpanId"] == client["spanId"]
    assert len({span["traceId"] for span in (server, outer, client, inner)}) == 1


def test_kinds_events_links_and_scopes_survive(run_python: Run, lines: Any, named: Named) -> None:
    run_python(
        START
        + """
with tracer.start_as_current_span("cause") as cause: pass
for kind in SpanKind:
    tracer.start_span(kind.name, kind=kind).end()
links = [Link(cause.get_span_context(), {"why": "retry"})]
with tracer.start_as_current_span("rich", links=links) as span:
    span.add_event("sent \\"it\\"", {"bytes": 3}, timestamp=7)
    span.add_event("plain")
"""
    )

    kinds = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
    assert {name: named(name)["kind"] for name in kinds} == kinds
    cause, rich = named("cause"), named("rich")
    assert rich["links"] == [
        {
            "traceId": cause["traceId"],
            "spanId": cause["spanId"],
            "attributes": [{"key": "why", "value": {"stringValue": "retry"}}],
        }
    ]
    sent, plain = rich["events"]
    assert sent == {
        "name": 'sent "it"',
        "timeUnixNano": "7",
        "attributes": [{"key": "bytes", "value": {"intValue": "3"}}],
    }
    assert (plain["name"], plain["attributes"]) == ("plain", [])
    parsed, unreadable = lines("operations")
    assert not unreadable
    scopes = [
        scope["scope"]
        for line in parsed
        for r in line["resourceSpans"]
        for scope in r["scopeSpans"]
    ]
    assert {(scope["name"], scope["version"]) for scope in scopes} == {("library", "1.2")}


def test_every_span_has_a_status_and_only_errors_are_errors(run_python: Run, named: Named) -> None:
    run_python(
        START
        + """
tracer.start_span("unset").end()
for name, code in (("good", StatusCode.OK), ("bad", StatusCode.ERROR)):
    span = tracer.start_span(name)
    span.set_status(Status(code))
    span.end()
try:
    with tracer.start_as_current_span("raises"): raise ValueError("x")
except ValueError: pass
"""
    )

    codes = {name: named(name)["status"]["code"] for name in ("unset", "good", "bad", "raises")}
    assert codes == {"unset": 1, "good": 1, "bad": 2, "raises": 2}
    (event,) = named("raises")["events"]
    assert event["name"] == "exception"


def test_attributes_that_the_spool_cannot_hold_are_counted_and_the_span_is_kept(
    run_python: Run, named: Named
) -> None:
    out = run_python(
        START
        + """
with tracer.start_as_current_span("odd \\udcff", attributes={"bytes": b"\\xff", "good": 1}) as span:
    span.set_attribute("infinite", float("inf"))
    span.add_event("event", {"bytes": b"x"})
trace.get_tracer_provider().force_flush()
losses.flush(); print(losses.read())
"""
    )

    span = named("odd ?")
    assert span["attributes"]["good"] == {"intValue": "1"}
    assert "infinite" not in span["attributes"]
    assert out.startswith("{'bad_attribute': ")


def test_spans_of_several_resources_and_scopes_are_kept_apart(run_python: Run, lines: Any) -> None:
    run_python(
        """
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from orchwatch.sdk.export import WriteThrough
processor = WriteThrough()
for service in ("a", "b"):
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(processor)
    for scope in ("x", "y"):
        provider.get_tracer(scope).start_span(service + scope).end()
"""
    )

    parsed, unreadable = lines("operations")
    assert not unreadable
    found = {
        span["name"]: (resource["resource"]["attributes"][0]["value"], scope["scope"]["name"])
        for line in parsed
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
    assert found == {
        service + scope: ({"stringValue": service}, scope) for service in "ab" for scope in "xy"
    }


def test_a_span_that_cannot_be_written_is_counted_and_the_others_are_kept(
    run_python: Run, named: Named, lost: Lost
) -> None:
    run_python(
        START
        + """
with operation("before"): pass
tracer.start_span(None).end()
tracer.start_span("renamed").update_name(5)
span = tracer.start_span("renamed")
span.update_name(5)
span.end()
with tracer.start_as_current_span("event") as span: span.add_event(None)
with operation("after"): pass
"""
    )

    assert named("before")
    assert named("after")
    assert lost() == {"bad_span": 3}


def test_odd_kinds_and_times_do_not_cost_the_span(run_python: Run, named: Named) -> None:
    run_python(
        START
        + """
tracer.start_span("odd kind", kind="server").end()
span = tracer.start_span("no whole number", start_time=1.5e9)
span.add_event("event", timestamp=1.6e9)
span.end(1.7e9)
tracer.start_span("before time", start_time=-2).end(-1)
"""
    )

    assert named("odd kind")["kind"] == 1
    span = named("no whole number")
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1500000000", "1700000000")
    assert span["events"][0]["timeUnixNano"] == "1600000000"
    assert named("before time")["startTimeUnixNano"] == "0"


def test_a_metric_that_cannot_be_written_is_counted_and_the_others_are_kept(
    run_python: Run, lines: Any, lost: Lost
) -> None:
    run_python(
        START
        + """
from opentelemetry import metrics
metrics.get_meter("host").create_counter("too.large").add(2**70)
orchwatch.count("tasks")
"""
    )

    parsed, unreadable = lines("metrics")
    assert not unreadable
    found = {
        metric["name"]
        for line in parsed
        for resource in line["resourceMetrics"]
        for scope in resource["scopeMetrics"]
        for metric in scope.get("metrics", [])
    }
    assert "tasks" in found
    assert "too.large" not in found
    assert lost() == {"bad_metric": 1}
