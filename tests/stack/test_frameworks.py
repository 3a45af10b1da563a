"""The examples: frameworks on a model that is a script, each over one way, and one over all."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.conftest import PACKAGE_ROOT
from tests.stack.conftest import (
    ENDED_WITHIN_S,
    eventually,
    search,
    stored,
)
from tests.stack.test_other_programs import operations
from tests.stack.test_sdk_over_otlp import otlp_environment

from orchwatch import semconv

if TYPE_CHECKING:
    from native import Stack

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("shared stack")

ROOT = Path(__file__).parents[2]
GRPC, HTTP, SPOOL = "grpc", "http/protobuf", "spool"
# An environment is made once a machine: from the network, while everything else is at work too.
MADE_WITHIN_S = 600

# What becomes of each span: its name, and that of its parent.
TREES = {
    "openai_agents": {
        ("invoke_workflow", ""): 1,
        ("invoke_agent desk", "Agent workflow"): 1,
        ("execute_tool handoff to orders", "turn"): 1,
        ("invoke_agent orders", "Agent workflow"): 1,
        ("execute_tool order_status", "turn"): 1,
    },
    "langgraph": {
        ("invoke_workflow", ""): 1,
        ("agent.task clerk", "invoke_workflow"): 2,
        ("agent.task tools", "invoke_workflow"): 1,
        ("execute_tool order_status", "agent.task tools"): 1,
    },
    "pydantic_ai": {
        ("invoke_agent desk", ""): 1,
        ("execute_tool ask_orders", "invoke_agent desk"): 1,
        ("invoke_agent orders", "execute_tool ask_orders"): 1,
        ("execute_tool order_status", "invoke_agent orders"): 1,
    },
    "crewai": {
        ("invoke_workflow", ""): 1,
        ("invoke_agent orders", "invoke_workflow"): 1,
        ("execute_tool order_status", "invoke_agent orders"): 1,
        ("invoke_agent desk", "invoke_workflow"): 1,
    },
}
OPERATIONS = {
    "openai_agents": {
        (semconv.ORCHESTRATION_RUN, ""): 1,
        (semconv.AGENT_RUN, ""): 2,
        (semconv.TOOL_EXECUTE, ""): 2,
    },
    "langgraph": {
        (semconv.ORCHESTRATION_RUN, ""): 1,
        (semconv.AGENT_TASK, ""): 3,
        (semconv.TOOL_EXECUTE, ""): 1,
    },
    "pydantic_ai": {(semconv.AGENT_RUN, ""): 2, (semconv.TOOL_EXECUTE, ""): 2},
    "crewai": {
        (semconv.ORCHESTRATION_RUN, ""): 1,
        (semconv.AGENT_RUN, ""): 2,
        (semconv.TOOL_EXECUTE, ""): 1,
    },
}
WAYS = [
    ("openai_agents", GRPC),
    ("langgraph", SPOOL),
    ("crewai", HTTP),
    ("pydantic_ai", GRPC),
    ("pydantic_ai", HTTP),
    ("pydantic_ai", SPOOL),
]


class Ran(NamedTuple):
    """An example that has run, under a service name of its own."""

    example: str
    service: str


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]} over {way[1]}")
def ran(stack: Stack, request: pytest.FixtureRequest) -> Ran:
    example, way = request.param
    made = subprocess.run(
        [".ci/example", example],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=MADE_WITHIN_S,
    )
    service = f"{example} over {way}"
    inherited = {
        variable: text
        for variable, text in os.environ.items()
        if not variable.startswith(("ORCHWATCH_", "OTEL_", "TRACEPARENT", "BAGGAGE", "PYTHON"))
    }
    own = {
        "ORCHWATCH_HOME": str(stack.home),
        "ORCHWATCH_EXPORT": "spool" if way == SPOOL else "otlp",
        "OTEL_SERVICE_NAME": service,
        "PYTHONPATH": str(PACKAGE_ROOT),
        # A framework must not ask anybody.
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    ended = subprocess.run(
        [f"{made.stdout.strip()}/bin/python", f"examples/{example}/main.py"],
        check=False,
        cwd=ROOT,
        env={**inherited, **own, **({} if way == SPOOL else otlp_environment(stack, way))},
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_S,
    )
    assert ended.returncode == 0, ended.stderr
    assert "shipped" in ended.stdout
    return Ran(example, service)


def tree(stack: Stack, service: str) -> dict[tuple[str, str], int]:
    """The spans in Tempo, by name and their parent's, without those that are part of others."""
    traces = search(stack, f'{{ resource.service.name = "{service}" }}')
    spans = [span for trace_id in traces for span in stored(stack, trace_id)]
    names = {span.span_id: span.name for span in spans}
    found = Counter((span.name, names.get(span.parent_span_id, "")) for span in spans)
    return {pair: number for pair, number in found.items() if pair[0].split(" ")[0] in OURS}


OURS = {"invoke_agent", "invoke_workflow", "execute_tool", semconv.AGENT_TASK}


def test_nodes_tools_and_handoffs_are_operations_under_who_began_them(
    stack: Stack, ran: Ran
) -> None:
    wanted = TREES[ran.example]
    assert eventually(lambda: tree(stack, ran.service) == wanted), tree(stack, ran.service)


def test_each_is_counted_once(stack: Stack, ran: Ran) -> None:
    wanted = OPERATIONS[ran.example]
    found = eventually(lambda: (at := operations(stack, ran.service)) == wanted and at)
    assert found == wanted, operations(stack, ran.service)
