from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., str]
    Named = Callable[[str], dict[str, Any]]

START = """
import orchwatch
from orchwatch import operation
orchwatch.configure(export="spool")
from opentelemetry import trace
tracer = trace.get_tracer("library")
"""


def test_a_frameworks_span_is_an_operation_and_says_nothing_else(
    run_python: Run, lines: Any, named: Named
) -> None:
    run_python(
        START
        + """
said = {"gen_ai.tool.call.arguments": "in confidence", "own": "in confidence"}
call = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "grep", **said}
with tracer.start_as_current_span("x", attributes=call) as span:
    span.add_event("in confidence", {"text": "in confidence"})
    try:
        raise ValueError("in confidence")
    except ValueError as error:
        span.record_exception(error)
        span.set_status(trace.Status(trace.StatusCode.ERROR, "in confidence"))
"""
    )
    span = named("execute_tool grep")
    assert span["status"] == {"code": 2}
    carried = {
        "orchestration.operation.name": "tool.execute",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "grep",
        "error.type": "ValueError",
    }
    assert span["attributes"] == {key: {"stringValue": text} for key, text in carried.items()}
    assert [event["name"] for event in span["events"]] == ["event", "exception"]
    assert "in confidence" not in str(lines("operations"))


def test_names_links_and_exceptions_say_no_more_than_attributes_may(
    run_python: Run, lines: Any, named: Named
) -> None:
    run_python(
        START
        + """
tool, agent, said = "execute_tool", "invoke_agent", "in confidence"
def span(operation, of, **more):
    more = {"gen_ai.operation.name": operation, **more}
    return tracer.start_span("x", attributes={**more, **of}, links=[link])
first = tracer.start_span("first", attributes={"gen_ai.operation.name": "plan"})
link = trace.Link(first.get_span_context(), {"text": said})
first.end()
span(tool, {"gen_ai.tool.name": [said, said]}).end()
span(agent, {"gen_ai.agent.name": "a" * 600}).end()
failed = span(tool, {"gen_ai.tool.name": "grep"})
failed.add_event("exception", {"exception.type": "A long text " + said})
failed.add_event("exception", {"exception.type": [said]})
failed.add_event("exception", {"exception.type": "ValueError"})
failed.set_status(trace.Status(trace.StatusCode.ERROR))
failed.end()
chain = {"openinference.span.kind": "TOOL"}
tracer.start_span("b" * 600, attributes=chain).end()
"""
    )
    assert "gen_ai.tool.name" not in named("execute_tool")["attributes"]
    assert named(f"invoke_agent {'a' * 256}")
    assert named(f"execute_tool {'b' * 256}")
    failed = named("execute_tool grep")
    assert [event["attributes"] for event in failed["events"]][:2] == [[], []]
    assert "ValueError" in str(failed["events"][2])
    assert failed["attributes"]["error.type"] == {"stringValue": "other"}
    assert len(failed["links"]) == 1
    assert "in confidence" not in str(lines("operations"))


@pytest.mark.parametrize(
    ("span", "mark", "name"),
    [
        ("chat", {"gen_ai.system": "some", "gen_ai.prompt.0.content": "in confidence"}, "chat"),
        ("chat", {"gen_ai.provider.name": "some", "text": "in confidence"}, "chat"),
        (
            "some.chat",
            {"llm.request.type": "chat", "gen_ai.prompt.0.content": "in confidence"},
            "chat",
        ),
        (
            "step",
            {"traceloop.span.kind": "task", "traceloop.entity.input": "in confidence"},
            "step",
        ),
        (
            "look",
            {"traceloop.span.kind": "tool", "traceloop.entity.output": "in confidence"},
            "execute_tool look",
        ),
        (
            "ai.generateText",
            {"ai.operationId": "ai.generateText", "ai.prompt": "in confidence"},
            "ai.generateText",
        ),
        (
            "ai.generateText.doGenerate",
            {"ai.operationId": "x", "ai.model.id": "big", "ai.response.text": "in confidence"},
            "chat big",
        ),
    ],
)
def test_what_names_no_operation_says_nothing_either(
    run_python: Run, lines: Any, named: Named, *, span: str, mark: dict[str, str], name: str
) -> None:
    run_python(START + f"tracer.start_span({span!r}, attributes={mark!r}).end()\n")
    assert named(name)
    assert "in confidence" not in str(lines("operations"))


def test_what_the_acting_agent_does_elsewhere_stays_as_it_is(run_python: Run, named: Named) -> None:
    run_python(
        START
        + """
with operation("state.query"):
    with tracer.start_as_current_span("GET", attributes={"url.full": "http://x/", "own": 1}):
        pass
"""
    )
    assert named("GET")["attributes"]["url.full"] == {"stringValue": "http://x/"}
    operation = named("state.query")["attributes"]["orchestration.operation.name"]
    assert operation == {"stringValue": "state.query"}


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ('{"langgraph_node": "review"}', "agent.task review"),
        ('{"langgraph_node": "another"}', "review"),
        ('{"langgraph_node": 1}', "review"),
        ("langgraph_node", "review"),
        ("[]", "review"),
        ("[" * 100_000, "review"),
        ("", "review"),
    ],
)
def test_a_node_is_what_langgraph_says(
    run_python: Run, named: Named, metadata: str, name: str
) -> None:
    run_python(
        START
        + f"""
chain = {{"openinference.span.kind": "CHAIN", "metadata": {metadata!r}}}
with tracer.start_as_current_span("root"):
    tracer.start_span("review", attributes=chain).end()
"""
    )
    assert ("orchestration.operation.name" in named(name)["attributes"]) == (
        name == "agent.task review"
    )
