"""OpenAI Agents SDK: one agent hands over to another, which calls a tool.

The model is a script, so that nothing is asked over the network. Where the spans go is said by the
environment, see docs/frameworks.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agents import Agent, ModelResponse, Runner, Usage, function_tool
from agents.models.interface import Model
from agents.tracing import generation_span
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)
from openinference.instrumentation import TraceConfig
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

import orchwatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Scripted(Model):
    """Answers with one item after another.

    Args:
        items: Calls and messages, as a real model would send them.
    """

    def __init__(self, *items: ResponseFunctionToolCall | ResponseOutputMessage) -> None:
        self._items: Iterator[Any] = iter(items)

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        with generation_span(model="scripted") as span:
            usage = Usage(requests=1, input_tokens=20, output_tokens=5, total_tokens=25)
            span.span_data.usage = {"input_tokens": 20, "output_tokens": 5}
            return ModelResponse(output=[next(self._items)], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


def call(name: str, arguments: str) -> ResponseFunctionToolCall:
    """The model asks for a tool."""
    return ResponseFunctionToolCall(
        type="function_call", call_id=f"call-{name}", name=name, arguments=arguments
    )


def says(text: str) -> ResponseOutputMessage:
    """The model answers."""
    said = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="message", type="message", role="assistant", status="completed", content=[said]
    )


@function_tool
def order_status(order: str) -> str:
    """Look an order up."""
    return f"{order}: shipped"


async def main() -> None:
    """Ask once."""
    orchwatch.configure()
    hidden = TraceConfig(hide_inputs=True, hide_outputs=True)
    OpenAIAgentsInstrumentor().instrument(config=hidden)
    answered = says("Your order was shipped.")
    orders = Agent(
        name="orders",
        model=Scripted(call("order_status", '{"order": "17"}'), answered),
        tools=[order_status],
    )
    desk = Agent(name="desk", model=Scripted(call("transfer_to_orders", "{}")), handoffs=[orders])
    result = await Runner.run(desk, "Where is order 17?")
    print(result.final_output)


if __name__ == "__main__":
    asyncio.run(main())
