"""CrewAI: a crew of two agents, one of which calls a tool.

The model is a script, so that nothing is asked over the network. Where the spans go is said by the
environment, see docs/frameworks.md.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"  # what it would send home
os.environ["CREWAI_TRACING_ENABLED"] = "false"

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool
from openinference.instrumentation import TraceConfig
from openinference.instrumentation.crewai import CrewAIInstrumentor

import orchwatch


class Scripted(BaseLLM):
    """Answers with one text after another."""

    script: list[str]

    def call(self, *_: Any, **__: Any) -> str:
        return self.script.pop(0)


@tool("order_status")
def order_status(order: str) -> str:
    """Look an order up."""
    return f"{order}: shipped"


def main() -> None:
    """Ask once."""
    orchwatch.configure()
    hidden = TraceConfig(hide_inputs=True, hide_outputs=True)
    CrewAIInstrumentor().instrument(config=hidden, use_event_listener=True)
    looks = 'Thought: look\nAction: order_status\nAction Input: {"order": "17"}'
    found = "Thought: done\nFinal Answer: 17: shipped"
    orders = Agent(
        role="orders",
        goal="know orders",
        backstory="A clerk.",
        llm=Scripted(model="scripted", script=[looks, found]),
        tools=[order_status],
    )
    desk = Agent(
        role="desk",
        goal="answer",
        backstory="A clerk.",
        llm=Scripted(model="scripted", script=["Thought: done\nFinal Answer: It was shipped."]),
    )
    # A task without a name is called by its description, which is content.
    look = Task(
        name="look", description="Look order 17 up.", expected_output="Its status.", agent=orders
    )
    tell = Task(
        name="tell", description="Tell the customer.", expected_output="One sentence.", agent=desk
    )
    print(Crew(name="shop", agents=[orders, desk], tasks=[look, tell]).kickoff())


if __name__ == "__main__":
    main()
