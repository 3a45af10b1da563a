from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

import orchwatch
from orchwatch import operation

if TYPE_CHECKING:
    from collections.abc import Callable

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]

pytestmark = pytest.mark.usefixtures("home")


def resource(line: dict[str, Any], signal: str = "Spans") -> dict[str, Any]:
    (entry,) = line[f"resource{signal}"]
    return {
        attribute["key"]: next(iter(attribute["value"].values()))
        for attribute in entry["resource"]["attributes"]
    }


def test_a_line_is_one_whole_otlp_request(lines: Lines) -> None:
    before_ns = time.time_ns()
    with operation("o", {"a": "b"}) as op:
        pass
    (_, line), unreadable = lines("operations")
    assert unreadable == 0
    scope = line["resourceSpans"][0]["scopeSpans"][0]
    (span,) = scope["spans"]
    start_ns, end_ns = int(span.pop("startTimeUnixNano")), int(span.pop("endTimeUnixNano"))
    assert before_ns <= start_ns <= end_ns <= time.time_ns() + 10_000_000
    assert scope["scope"] == {"name": "orchwatch", "version": orchwatch.__version__}
    assert span == {
        "traceId": op.trace_id,
        "spanId": op.span_id,
        "name": "o",
        "kind": 1,
        "attributes": [
            {"key": "orchestration.operation.name", "value": {"stringValue": "o"}},
            {"key": "a", "value": {"stringValue": "b"}},
        ],
        "status": {"code": 1},
    }


def test_spans_and_metrics_name_the_same_process(lines: Lines) -> None:
    with operation("o"):
        orchwatch.count("c")
    span_resource = resource(lines("operations")[0][1])
    assert span_resource == {
        "service.name": "orchestration",
        "process.pid": str(os.getpid()),
        "host.name": os.uname().nodename,
    }
    assert resource(lines("metrics")[0][1], "Metrics") == span_resource


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_SERVICE_NAME": "otel"}, {"service.name": "otel"}),
        (
            {"OTEL_SERVICE_NAME": "otel", "ORCHWATCH_SERVICE_NAME": "own"},
            {"service.name": "own"},
        ),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a%20b, team = x ,broken,=y"},
            {"service.name": "a b", "team": "x"},
        ),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"},
            {"service.name": "b"},
        ),
        ({"OTEL_SERVICE_NAME": ""}, {"service.name": "orchestration"}),
    ],
)
def test_the_environment_names_the_service(
    run_python: Callable[..., str],
    lines: Lines,
    environ: dict[str, str],
    expected: dict[str, str],
) -> None:
    run_python("from orchwatch import operation\nwith operation('o'):\n    pass", **environ)
    found = resource(lines("operations")[0][1])
    assert {key: found[key] for key in expected} == expected
    assert "" not in found


def test_an_environment_that_is_no_utf8_is_written_as_valid_json(
    run_python: Callable[..., str], lines: Lines
) -> None:
    run_python(
        "from orchwatch import operation\nwith operation('o'):\n    pass",
        OTEL_SERVICE_NAME="bad\udcff",
    )
    assert resource(lines("operations")[0][1])["service.name"] == "bad?"


def test_ids_are_never_zero_and_never_repeat(
    spans: Callable[[], list[dict[str, Any]]],
) -> None:
    for _ in range(1000):
        with operation("o"):
            pass
    written = spans()
    for key, length in (("traceId", 32), ("spanId", 16)):
        ids = [span[key] for span in written]
        assert len(set(ids)) == 1000
        assert all(len(one) == length and int(one, 16) for one in ids)


def test_a_line_separator_inside_a_value_does_not_split_the_line(lines: Lines) -> None:
    with operation("o", {"a": "\n\r\u2028\u2029\x85\x0b\x0c\x1c"}):
        pass
    (_, line), unreadable = lines("operations")
    assert unreadable == 0
    span = line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["attributes"][1]["value"]["stringValue"] == "\n\r\u2028\u2029\x85\x0b\x0c\x1c"


def test_a_forked_child_that_unwinds_its_parents_operation_does_not_record_it_again(
    run_python: Callable[..., Any], named: Callable[[str], dict[str, Any]]
) -> None:
    run_python(
        """
        import os, sys
        from orchwatch import operation
        with operation("outer"):
            if os.fork() == 0:
                with operation("child"):
                    pass
                sys.exit()  # leaves the parent's block
            os.wait()
            with operation("after"):
                pass
        """
    )
    outer = named("outer")
    assert named("child")["parentSpanId"] == outer["spanId"]
    assert named("after")["parentSpanId"] == outer["spanId"]


def test_what_an_agent_host_starts_belongs_to_the_hosts_session(
    monkeypatch: pytest.MonkeyPatch, named: Callable[[str], dict[str, Any]]
) -> None:
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "host-1")
    with operation("inherited"):
        pass
    monkeypatch.setenv("BAGGAGE", "session.id=handed-over")
    with operation("handed over"):
        pass
    inherited, handed_over = (named(one)["attributes"] for one in ("inherited", "handed over"))
    assert inherited["session.id"] == {"stringValue": "host-1"}
    # It is an agent's conversation, which its reader names.
    assert inherited["gen_ai.conversation.id"] == {"stringValue": "host-1"}
    assert handed_over["session.id"] == {"stringValue": "handed-over"}
    assert "gen_ai.conversation.id" not in handed_over
