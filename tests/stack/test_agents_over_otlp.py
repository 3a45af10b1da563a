"""What real coding agents send, counted where nobody reads their files: as their models saw it."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.stack.agents_otlp import DATA, Recording, recording
from tests.stack.conftest import DURATION, counted, eventually, get, running, samples, selector
from tests.stack.test_native_stack import attributes, post, spans_of, text

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native import Stack

Json = dict[str, Any]

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("agents over otlp")

AGENTS = sorted(path.stem for path in DATA.glob("*.jsonl"))
# Calls of tools that are not there: some agents have no span for them.
NOT_THERE = {"gemini-cli": "no_such_tool", "opencode": "no_such_tool", "qwen-code": "no_such_tool"}
# Runs end without what was not sent yet.
UNFLUSHED = {"opencode"}
MS = 1_000_000
# An agent begins a call as the answer still comes, and the model's side saw that end.
APART_NS = 200 * MS


class Span(NamedTuple):
    """One in Tempo."""

    name: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    status: str
    attributes: dict[str, Any]

    @property
    def operation(self) -> str:
        found: str = self.attributes.get(semconv.OPERATION_NAME, "")
        return found


class Sent(NamedTuple):
    """What an agent sent, and what became of it."""

    agent: str
    recording: Recording
    spans: list[Span]
    raw: str


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One on which what these agents send is counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHWATCH_OTLP_COUNTED", ",".join(AGENTS))
        with running(tmp_path_factory.mktemp("stack")) as found:
            yield found


@pytest.fixture(scope="module", params=AGENTS)
def sent(stack: Stack, request: pytest.FixtureRequest) -> Sent:
    found = recording(DATA / f"{request.param}.jsonl")
    for message in found.requests:
        post(f"{stack.otlp_http_url}/v1/traces", message)
    traces = {span["traceId"] for span in found.spans}
    # Its traces of a session are made one.
    joined = (f"{request.param}/{session}" for session in found.sessions)
    traces |= {hashlib.sha256(one.encode()).hexdigest()[:32] for one in joined}

    def stored() -> list[Span]:
        return [_span(one) for trace in sorted(traces) for one in spans_of(stack, trace)]

    def complete() -> list[Span]:
        spans = stored()
        operations = [one for one in spans if one.operation]
        return (
            spans if operations and counted(stack, service=request.param) == len(operations) else []
        )

    spans = eventually(complete) or stored()
    raw = json.dumps([get(f"{stack.tempo_url}/api/traces/{trace}") for trace in sorted(traces)])
    return Sent(request.param, found, spans, raw)


def _span(stored: Json) -> Span:
    values = {item["key"]: item["value"] for item in stored.get("attributes", [])}
    return Span(
        name=stored["name"],
        span_id=stored["spanId"],
        parent_id=stored.get("parentSpanId", ""),
        start_ns=int(stored["startTimeUnixNano"]),
        end_ns=int(stored["endTimeUnixNano"]),
        status=stored["status"].get("code", ""),
        attributes={key: next(iter(value.values()), None) for key, value in values.items()},
    )


def of(spans: list[Span], operation: str) -> list[Span]:
    return [one for one in spans if one.operation == operation]


def calls(spans: list[Span]) -> dict[str, Span]:
    """The calls of tools by the model's id; Gemini CLI puts the tool's name before it."""
    found = of(spans, semconv.TOOL_EXECUTE)
    ids = [str(one.attributes[semconv.GEN_AI_TOOL_CALL_ID]).rpartition("__")[2] for one in found]
    assert len(ids) == len(set(ids)), "each once"
    return dict(zip(ids, found, strict=True))


def seen_ns(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1e9)


def test_calls_of_tools_are_those_that_the_model_asked_for(sent: Sent) -> None:
    asked = {
        one["id"]: one for one in sent.recording.tools if one["name"] != NOT_THERE.get(sent.agent)
    }
    found = calls(sent.spans)
    assert found
    assert found.keys() <= asked.keys()
    if sent.agent not in UNFLUSHED:
        assert found.keys() == asked.keys()
    for own, span in found.items():
        assert span.attributes[semconv.GEN_AI_TOOL_NAME] == asked[own]["name"].rpartition(":")[2]
        assert span.name == f"execute_tool {span.attributes[semconv.GEN_AI_TOOL_NAME]}"
        assert span.start_ns >= seen_ns(asked[own]["start"]) - APART_NS
        if asked[own]["end"]:
            assert span.end_ns <= seen_ns(asked[own]["end"]) + APART_NS


def test_requests_and_tokens_are_what_the_model_answered(sent: Sent) -> None:
    answered = [one["usage"] for one in sent.recording.asked if one["status"] == 200]
    requests = [
        one
        for one in sent.spans
        if one.attributes.get(semconv.GEN_AI_OPERATION_NAME) == semconv.CHAT and not one.operation
    ]
    if sent.agent in UNFLUSHED:
        assert 0 < len(requests) < len(answered)
        return
    assert len(requests) == len(answered)
    used: Counter[str] = Counter()
    for span in sent.spans:
        for key, value in span.attributes.items():
            used[key] += int(value) if key.startswith("gen_ai.usage.") else 0
    assert used[semconv.GEN_AI_USAGE_INPUT_TOKENS] == sum(one["input"] for one in answered)
    output = sum(one["output"] for one in answered)
    # Its own spans leave out what it reasoned, and what came from the cache.
    reasoning = sum(one["reasoning"] for one in answered) if sent.agent == "gemini-cli" else 0
    assert used[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] == output - reasoning
    if sent.agent != "gemini-cli":
        cached = sum(one["cached"] for one in answered)
        assert used[semconv.GEN_AI_USAGE_CACHE_READ_TOKENS] == cached


def test_prometheus_has_each_operation_once(stack: Stack, sent: Sent) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for labels, count in samples(stack, f"{DURATION}_count{selector(service=sent.agent)}"):
        name = labels["orchestration_operation_name"]
        found[name, labels.get("error_type", "")] += int(count)
    assert found == Counter(
        (one.operation, one.attributes.get(semconv.ERROR_TYPE, ""))
        for one in sent.spans
        if one.operation
    )


def test_a_sub_agent_hangs_under_the_call_that_started_it(sent: Sent) -> None:
    started = {one.span_id for one in calls(sent.spans).values()}
    for agent in of(sent.spans, semconv.AGENT_RUN):
        assert agent.parent_id in started


def test_what_the_agent_did_inside_is_left_out(sent: Sent) -> None:
    known = len([one for one in sent.spans if semconv.SESSION_ID in one.attributes])
    assert len(sent.spans) <= len(sent.recording.spans)
    # Beside those of a session, only what joins them.
    assert known >= len(sent.spans) / 2


def test_nothing_that_was_said_arrives(stack: Stack, sent: Sent) -> None:
    # Sentences, code and paths, and not what names something.
    said = {text for text in texts(sent.recording.requests) if re.search(r"\w\W* \W*\w|/.*/", text)}
    said.discard("/usr/bin/node")  # what runs it: no word of it, but Gemini CLI's runtime
    assert said
    labels = json.dumps(samples(stack, f"{{service_name={json.dumps(sent.agent)}}}"))
    for one in said:
        assert json.dumps(one)[1:-1] not in sent.raw
        assert json.dumps(one)[1:-1] not in labels


def texts(data: Any) -> Iterator[str]:
    """All values of attributes, and all messages and names of events, in OTLP/JSON."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in {"stringValue", "message"}:
                yield value
            else:
                yield from texts(value)
        yield from (event["name"] for event in data.get("events", ()))
    elif isinstance(data, list):
        for value in data:
            yield from texts(value)


def total(name: str, temporality: int, *points: tuple[list[Json], int]) -> Json:
    """A sum of one agent's, each point with its labels."""
    now_ns = time.time_ns()
    at = {"startTimeUnixNano": str(now_ns - 10**9), "timeUnixNano": str(now_ns)}
    found = [{**at, "asInt": str(value), "attributes": labels} for labels, value in points]
    data = {"dataPoints": found, "aggregationTemporality": temporality, "isMonotonic": True}
    return {"name": name, "sum": data}


def send_metric(stack: Stack, about: dict[str, Json], metric: Json) -> None:
    scopes = [{"metrics": [metric]}]
    resource = {"attributes": attributes(about)}
    message = {"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}
    post(f"{stack.otlp_http_url}/v1/metrics", message)


def test_calls_of_sub_agents_are_one_series_whatever_thread_started_them(stack: Stack) -> None:
    points = [
        (attributes({"tool": text("exec"), "session_source": text(source)}), value)
        for source, value in (
            (f"subagent_thread_spawn_{uuid.uuid4()}_d1", 3),
            (f"subagent_thread_spawn_{uuid.uuid4()}_d1", 4),
            ("exec", 5),
        )
    ]
    send_metric(stack, {"service.name": text("codex_exec")}, total("codex.tool.call", 1, *points))
    found = eventually(lambda: samples(stack, 'codex_tool_call_total{tool="exec"}'))
    assert {labels["session_source"]: value for labels, value in found} == {
        "subagent_thread_spawn_d1": 7,
        "exec": 5,
    }


def test_gemini_clis_processes_are_apart_under_bounded_labels(stack: Stack) -> None:
    sessions = [str(uuid.uuid4()) for _ in range(3)]
    for number, session in enumerate(sessions, start=1):
        about = {
            "service.name": text("gemini-cli"),
            "session.id": text(session),
            "process.command_args": {"arrayValue": {"values": [text("-p"), text("said so")]}},
        }
        labels = attributes({"session.id": text(session), "type": text("input")})
        send_metric(stack, about, total("gemini_cli.token.usage", 2, (labels, number)))
    query = 'gemini_cli_token_usage_total{type="input"}'
    slots = {hashlib.sha256(session.encode()).hexdigest()[:2] for session in sessions}
    assert eventually(
        lambda: {labels["session_id"] for labels, _ in samples(stack, query)} == slots
    )
    told = json.dumps(samples(stack, '{job="gemini-cli"}'))
    assert "said so" not in told
    assert not [session for session in sessions if session in told]


def event(name: str, **told: Json) -> Json:
    """An event as such an agent sends it: what it is called is one of its attributes."""
    own = {key.replace("__", "."): value for key, value in told.items()}
    said = {"arguments": text("said so"), "error": text("said so")}
    values = attributes({"event.name": text(name), **own, **said})
    return {"timeUnixNano": str(time.time_ns()), "body": text("said so"), "attributes": values}


@pytest.mark.parametrize(
    ("service", "metric", "events", "counts"),
    [
        (
            "codex_exec",
            "codex_event_count_total",
            [
                event("codex.api_request", http__response__status_code={"intValue": "500"}),
                event("codex.api_request", http__response__status_code={"intValue": "200"}),
                event("codex.tool_result", success=text("false")),
                event("codex.tool_result", success=text("false")),
            ],
            {
                ("codex.api_request", "500", ""): 1,
                ("codex.api_request", "200", ""): 1,
                ("codex.tool_result", "", "false"): 2,
            },
        ),
        (
            "gemini-cli",
            "gemini_cli_event_count_total",
            [
                event("gemini_cli.api_error", status_code={"intValue": "503"}),
                event("gemini_cli.tool_call", success={"boolValue": False}),
            ],
            {("gemini_cli.api_error", "503", ""): 1, ("gemini_cli.tool_call", "", "false"): 1},
        ),
        (
            "qwen-code",
            "qwen_code_event_count_total",
            [event("qwen-code.api_error", status_code={"intValue": "400"})],
            {("qwen-code.api_error", "400", ""): 1},
        ),
    ],
)
def test_events_are_counted_by_what_they_came_to(
    stack: Stack,
    service: str,
    metric: str,
    events: list[Json],
    counts: dict[tuple[str, str, str], int],
) -> None:
    about = {"attributes": attributes({"service.name": text(service)})}
    scopes = [{"logRecords": events}]
    post(
        f"{stack.otlp_http_url}/v1/logs",
        {"resourceLogs": [{"resource": about, "scopeLogs": scopes}]},
    )

    def counted_events() -> dict[tuple[str, str, str], float]:
        found: dict[tuple[str, str, str], float] = {}
        for labels, value in samples(stack, metric):
            status = labels.get("http_response_status_code") or labels.get("status_code") or ""
            found[labels["event_name"], status, labels.get("success", "")] = value
        return found

    assert eventually(lambda: counted_events() == counts), counted_events()
    assert "said so" not in json.dumps(samples(stack, metric))
