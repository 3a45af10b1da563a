"""Pydantic AI: one agent asks another through a tool, which calls a tool of its own.

The models are scripts, so that nothing is asked over the network. Where the spans go is said by the
environment, see docs/frameworks.md.
"""

from __future__ import annotations

from pydantic_ai import Agent, InstrumentationSettings
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import orchwatch


def scripted(tool: str, order: str) -> FunctionModel:
    """A model that calls one tool, and then says what that answered."""

    def answer(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        for part in messages[-1].parts:
            if isinstance(part, ToolReturnPart):
                return ModelResponse(parts=[TextPart(str(part.content))])
        return ModelResponse(parts=[ToolCallPart(tool, {"order": order})])

    return FunctionModel(answer, model_name="scripted")


orders = Agent(scripted("order_status", "17"), name="orders")
desk = Agent(scripted("ask_orders", "17"), name="desk")


@orders.tool_plain
def order_status(order: str) -> str:
    """Look an order up."""
    return f"{order}: shipped"


@desk.tool_plain
async def ask_orders(order: str) -> str:
    """Hand the question over."""
    return (await orders.run(f"Where is {order}?")).output


def main() -> None:
    """Ask once."""
    orchwatch.configure()
    Agent.instrument_all(InstrumentationSettings(include_content=False))
    print(desk.run_sync("Where is order 17?").output)


if __name__ == "__main__":
    main()
