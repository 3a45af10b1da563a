"""Programs that know nothing of Orchwatch: spans of agents, by the conventions that they follow."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.stack.agents_otlp import DATA, recording
from tests.stack.conftest import DURATION, eventually, get, run, samples, search, selector
from tests.stack.test_native_stack import post, span, spans_of, text
from tests.stack.test_sdk_over_otlp import otlp_environment

from orchwatch import semconv
from orchwatch.semconv import mapping

if TYPE_CHECKING:
    from native import Stack

Json = dict[str, Any]

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("shared stack")

SAID = "said in confidence"

# Plain OpenTelemetry: takes a list of spans, each with its key, that of its parent, its name, what
# it carries and whether it fails; prints the trace's id.
PROGRAM = """
    import json, sys
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    service, protocol, scope, said, described = sys.argv[1:]
    if protocol in ("spool", "otlp"):
        from opentelemetry import trace
        from orchwatch import configure

        configure(service_name=service, export=protocol)
        tracer = trace.get_tracer(scope)
    elif protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if protocol not in ("spool", "otlp"):
        told = {"service.name": service, "process.command_args": ["agent", "-p", said]}
        provider = TracerProvider(resource=Resource(told))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        tracer = provider.get_tracer(scope)
    spans = {}
    input()
    for key, parent, name, attributes, failed in json.loads(described):
        context = set_span_in_context(spans[parent]) if parent else None
        span = spans[key] = tracer.start_span(name, context, attributes=attributes)
        span.add_event(said, {"content": said})
        if failed:
            span.record_exception(ValueError(said))
            span.set_status(Status(StatusCode.ERROR, said))
        span.add_event("exception", {"exception.type": said})
    for span in reversed(spans.values()):
        span.end()
    if protocol not in ("spool", "otlp"):
        provider.shutdown()
    print(f"{span.get_span_context().trace_id:032x}")
"""


# What they say beside what is kept, by the names that are in use for it.
CONTENT = dict.fromkeys(
    (
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"),
        *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.tool.definitions"),
        *("gen_ai.prompt", "gen_ai.completion", "gen_ai.tool.description"),
        *("input.value", "output.value", "llm.input_messages.0.message.content"),
        *("llm.prompts", "tool.parameters", "tool.description", "metadata.note"),
        *("tool_arguments", "tool_response", "all_messages_events", "final_result"),
        *("gen_ai.prompt.0.content", "gen_ai.completion.0.content", "traceloop.entity.input"),
        *("traceloop.entity.output", "ai.prompt", "ai.response.text", "ai.toolCall.args"),
        *("task.description", "command.line", "anything.else"),
    ),
    SAID,
)


Described = tuple[str, str, str, Json, bool]


class Way(NamedTuple):
    """A convention: a program's scope, its spans as `PROGRAM` reads them, and what they are here.

    Attributes:
        scope: The instrumentation scope.
        spans: Key, parent, name, attributes, whether it fails.
        names: By key, the span's name with our names.
        operations: By operation and type of its failure, how many are counted.
    """

    scope: str
    spans: list[Described]
    names: dict[str, str]
    operations: dict[tuple[str, str], int]


NAMES = {
    "agent": "invoke_agent reviewer",
    "model": "chat big-1",
    "again": "chat big-1",
    "tool": "execute_tool grep",
    "broken": "execute_tool fetch",
}
OPERATIONS = {
    (semconv.AGENT_RUN, ""): 1,
    (semconv.API_ERROR, "overloaded"): 1,
    (semconv.TOOL_EXECUTE, ""): 1,
    (semconv.TOOL_EXECUTE, "ValueError"): 1,
}
RUN = {(semconv.ORCHESTRATION_RUN, ""): 1}


def genai() -> Way:
    """The GenAI conventions as they are now."""
    operation = semconv.GEN_AI_OPERATION_NAME
    model = {operation: "chat", "gen_ai.request.model": "big-1", "gen_ai.provider.name": "some"}
    used = {"gen_ai.usage.input_tokens": 70, "gen_ai.usage.output_tokens": 7}
    call = {operation: "execute_tool", "gen_ai.tool.call.id": "call-1"}
    spans: list[Described] = [
        ("run", "", "invoke_workflow crew", {operation: "invoke_workflow"}, False),
        ("made", "run", "create_agent reviewer", {operation: "create_agent"}, False),
        ("plan", "run", "plan", {operation: "plan"}, False),
        ("agent", "run", "x", {operation: "invoke_agent", "gen_ai.agent.name": "reviewer"}, False),
        ("model", "agent", "x", {**model, **used}, False),
        ("again", "agent", "x", {**model, "error.type": "overloaded"}, True),
        ("tool", "agent", "x", {**call, "gen_ai.tool.name": "grep"}, False),
        ("broken", "agent", "x", {**call, "gen_ai.tool.name": "fetch"}, True),
        ("found", "agent", "retrieval db", {operation: "retrieval"}, False),
    ]
    own = {
        "run": "invoke_workflow",
        "made": "create_agent",
        "plan": "plan",
        "found": "retrieval db",
    }
    counts = {**RUN, (semconv.AGENT_SPAWN, ""): 1, (semconv.AGENT_PLAN, ""): 1, **OPERATIONS}
    return Way("instrumentation", spans, {**own, **NAMES}, counts)


def old_genai() -> Way:
    """Their older names, and those of Pydantic AI before it had any of them."""
    operation = semconv.GEN_AI_OPERATION_NAME
    model = {operation: "chat", "gen_ai.request.model": "big-1", "gen_ai.system": "some"}
    used = {"gen_ai.usage.prompt_tokens": 70, "gen_ai.usage.completion_tokens": 7}
    call = {"gen_ai.tool.call.id": "call-1"}
    spans: list[Described] = [
        ("agent", "", "agent run", {"agent_name": "reviewer"}, False),
        ("model", "agent", "x", {**model, **used}, False),
        ("again", "agent", "x", {**model, "error.type": "overloaded"}, True),
        ("tools", "agent", "running 2 tools", {}, False),
        ("tool", "tools", "running tool", {**call, "gen_ai.tool.name": "grep"}, False),
        ("broken", "tools", "running tool", {**call, "gen_ai.tool.name": "fetch"}, True),
    ]
    return Way("pydantic-ai", spans, {"tools": "running 2 tools", **NAMES}, OPERATIONS)


def openinference() -> Way:
    """OpenInference, of LangGraph."""
    kind = "openinference.span.kind"
    node = {kind: "CHAIN", "metadata": json.dumps({"langgraph_node": "review", "note": SAID})}
    model = {kind: "LLM", "llm.model_name": "big-1", "llm.provider": "some"}
    used = {"llm.token_count.prompt": 70, "llm.token_count.completion": 7}
    spans: list[Described] = [
        ("run", "", "LangGraph", {kind: "CHAIN"}, False),
        ("node", "run", "review", node, False),
        ("inner", "node", "RunnableSequence", node, False),
        ("agent", "inner", "reviewer", {kind: "AGENT"}, False),
        ("model", "agent", "ChatSome", {**model, **used}, False),
        ("again", "agent", "ChatSome", {**model, "error.type": "overloaded"}, True),
        ("tool", "agent", "grep", {kind: "TOOL", "tool_call.id": "call-1"}, False),
        ("broken", "agent", "x", {kind: "TOOL", "tool.name": "fetch", "tool_call.id": "2"}, True),
        ("found", "agent", "Retriever", {kind: "RETRIEVER"}, False),
    ]
    own = {
        "run": "invoke_workflow",
        "node": "agent.task review",
        "inner": "RunnableSequence",
        "found": "Retriever",
    }
    counts = {**RUN, (semconv.AGENT_TASK, ""): 1, **OPERATIONS}
    return Way("openinference.instrumentation.langchain", spans, {**own, **NAMES}, counts)


def unnamed() -> Way:
    """What names no operation: OpenLLMetry, the AI SDK, and spans that say no more than a maker."""
    kind, maker = "traceloop.span.kind", {"gen_ai.system": "some"}
    asked = {**maker, "llm.request.type": "chat", "gen_ai.request.model": "big-1"}
    used = {"gen_ai.usage.prompt_tokens": 70, "gen_ai.usage.completion_tokens": 7}
    sdk = {**maker, "gen_ai.request.model": "big-1", "error.type": "overloaded"}
    call = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "grep", "ai.toolCall.id": "call-1"}
    do, around = "ai.streamText.doStream", "ai.streamText"
    spans: list[Described] = [
        ("run", "", "crew.workflow", {kind: "workflow"}, False),
        ("task", "run", "step.task", {kind: "task"}, False),
        ("agent", "task", "reviewer", {kind: "agent"}, False),
        ("model", "agent", "some.chat", {**asked, **used}, False),
        ("broken", "agent", "fetch", {kind: "tool"}, True),
        ("around", "agent", around, {**maker, "ai.operationId": around}, False),
        ("again", "around", do, {**sdk, "ai.operationId": do}, True),
        ("tool", "around", "ai.toolCall", call, False),
        ("old", "agent", "some.complete", maker, False),
        ("new", "agent", "some.ask", {"gen_ai.provider.name": "some"}, False),
    ]
    own = {"task": "step.task", "around": around, "old": "some.complete", "new": "some.ask"}
    return Way("any", spans, {"run": "invoke_workflow", **own, **NAMES}, {**RUN, **OPERATIONS})


WAYS = {
    "genai": genai(),
    "old names": old_genai(),
    "openinference": openinference(),
    "no operation": unnamed(),
}


class Sent(NamedTuple):
    """What was sent, and by which service."""

    way: Way
    service: str
    session: str
    trace_id: str


def send(stack: Stack, convention: str, protocol: str, service: str) -> Sent:
    way, session = WAYS[convention], secrets.token_hex(8)
    spans = [
        (key, parent, name, {**CONTENT, "session.id": session, **attributes}, failed)
        for key, parent, name, attributes, failed in way.spans
    ]
    environment = {}
    if protocol != "spool":
        environment = otlp_environment(stack, "grpc" if protocol == "grpc" else "http/protobuf")
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = stack.otlp_headers
    words = (service, protocol, way.scope, SAID, json.dumps(spans))
    printed = run(stack, service, PROGRAM, *words, environment=environment)
    return Sent(way, service, session, printed.strip())


@pytest.fixture(
    scope="module", params=[(way, by) for way in WAYS for by in ("http", "grpc", "spool", "otlp")]
)
def sent(stack: Stack, request: pytest.FixtureRequest) -> Sent:
    convention, protocol = request.param
    return send(stack, convention, protocol, f"{convention} over {protocol}")


def operations(stack: Stack, service: str) -> dict[tuple[str, str], float]:
    """How many Prometheus has of a service, by operation and type of failure."""
    found: Counter[tuple[str, str]] = Counter()
    for labels, count in samples(stack, f"{DURATION}_count{selector(service=service)}"):
        assert (labels["status_code"] == semconv.STATUS_ERROR) == ("error_type" in labels)
        name = labels["orchestration_operation_name"]
        found[name, labels.get("error_type", "")] += int(count)
    return dict(found)


def arrived(stack: Stack, sent: Sent) -> dict[str, Json]:
    """The spans in Tempo, by key."""
    number = len(sent.way.spans)
    found = eventually(lambda: len(all_of := spans_of(stack, sent.trace_id)) == number and all_of)
    assert found
    by_start = sorted(found, key=lambda one: int(one["startTimeUnixNano"]))
    return dict(zip((key for key, *_ in sent.way.spans), by_start, strict=True))


def test_each_span_is_counted_once_as_the_operation_that_it_is(stack: Stack, sent: Sent) -> None:
    assert eventually(lambda: operations(stack, sent.service) == sent.way.operations), operations(
        stack, sent.service
    )
    # What would count them once more had seen them before those that come later.
    send(stack, "old names", "http", f"after {sent.service}")
    later = WAYS["old names"].operations
    assert eventually(lambda: operations(stack, f"after {sent.service}") == later)
    assert operations(stack, sent.service) == sent.way.operations


def test_spans_have_our_names_and_the_parents_they_had(stack: Stack, sent: Sent) -> None:
    spans = arrived(stack, sent)
    assert {key: one["name"] for key, one in spans.items()} == sent.way.names
    for key, parent, *_ in sent.way.spans:
        assert spans[key].get("parentSpanId", "") == (spans[parent]["spanId"] if parent else "")
    for key, one in spans.items():
        carried = {item["key"]: item["value"] for item in one["attributes"]}
        assert carried["session.id"] == carried["gen_ai.conversation.id"] == text(sent.session)
        failed = {key for key, *_, failed in sent.way.spans if failed}
        assert (one["status"].get("code") == "STATUS_CODE_ERROR") == (key in failed)
    model = {item["key"]: item["value"] for item in spans["model"]["attributes"]}
    assert model["gen_ai.provider.name"] == text("some")
    assert int(model["gen_ai.usage.input_tokens"]["intValue"]) == 70
    assert int(model["gen_ai.usage.output_tokens"]["intValue"]) == 7


def test_what_was_said_is_nowhere(stack: Stack, sent: Sent) -> None:
    arrived(stack, sent)
    assert SAID not in json.dumps(get(f"{stack.tempo_url}/api/traces/{sent.trace_id}"))
    labels = samples(stack, f"{{service_name={json.dumps(sent.service)}}}")
    labels += samples(stack, f"target_info{{job={json.dumps(sent.service)}}}")
    assert SAID not in json.dumps(labels)


@pytest.mark.parametrize(
    ("agent", "counted"),
    [("codex", {}), ("copilot-cli", {}), ("gemini-cli", {(semconv.API_ERROR, "ApiError"): 1})],
)
def test_what_an_agent_sends_whose_files_are_read_is_stored_and_not_counted(
    stack: Stack, agent: str, counted: dict[tuple[str, str], int]
) -> None:
    """But for what no file tells."""
    found = recording(DATA / f"{agent}.jsonl")
    for message in found.requests:
        post(f"{stack.otlp_http_url}/v1/traces", message)
    (session, *_) = sorted(found.sessions)
    own = f'{{ resource.service.name = "{agent}" && span.session.id = "{session}" }}'
    then = int(found.spans[0]["startTimeUnixNano"]) // 10**9
    around = {"start": then - 86400, "end": then + 86400}
    assert eventually(lambda: search(stack, own, **around))
    # What would count them had seen them before those that come later.
    send(stack, "old names", "http", f"after {agent}")
    later = WAYS["old names"].operations
    assert eventually(lambda: operations(stack, f"after {agent}") == later)
    assert operations(stack, agent) == counted
    named = f'{{ resource.service.name = "{agent}" && span.orchestration.operation.name != "" }}'
    assert bool(search(stack, named, **around)) == bool(counted)


ODD: dict[str, Json] = {
    "number": {"intValue": "3"},
    "fraction": {"doubleValue": 0.5},
    "truth": {"boolValue": True},
    "list": {"arrayValue": {"values": [{"stringValue": SAID}]}},
    "map": {"kvlistValue": {"values": [{"key": SAID, "value": {"stringValue": SAID}}]}},
    "bytes": {"bytesValue": "c2FpZA=="},
    "long text": {"stringValue": "x" * 5000},
    "empty text": {"stringValue": ""},
    "nothing": {},
}


@pytest.mark.parametrize("odd", ODD)
def test_a_value_of_any_kind_stops_neither_its_span_nor_others(stack: Stack, odd: str) -> None:
    """As every attribute that means something, but for the one that says what the span is."""
    table = mapping.load()
    keys = {*table.attributes, *table.milliseconds, *table.kept, "metadata"}
    keys |= {key for others in table.attributes.values() for key in others}
    keys -= {semconv.GEN_AI_OPERATION_NAME, "openinference.span.kind", "error.type"}
    keys -= {"error_type", "error_class"}
    service, trace = f"odd {odd}", secrets.token_hex(16)
    marks = [(semconv.GEN_AI_OPERATION_NAME, "execute_tool"), ("openinference.span.kind", "CHAIN")]
    for number, (key, value) in enumerate(marks):
        values: dict[str, Json] = {**dict.fromkeys(keys, ODD[odd]), key: text(value)}
        sent = span(None, 5, service=service, trace=trace, more=values)
        sent["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] = f"root {number}"
        post(f"{stack.otlp_http_url}/v1/traces", sent)
    expected = {(semconv.TOOL_EXECUTE, ""): 1, (semconv.ORCHESTRATION_RUN, ""): 1}
    assert eventually(lambda: operations(stack, service) == expected), operations(stack, service)
    stored = eventually(lambda: len(found := spans_of(stack, trace)) == len(marks) and found)
    assert stored
    assert SAID not in json.dumps(stored)
    assert max(map(len, re.findall("x+", json.dumps(stored))), default=0) <= mapping.MAX_CHARS
