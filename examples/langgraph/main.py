"""LangGraph: a graph of two nodes, one of which calls a model and a tool.

The model is a script, so that nothing is asked over the network. Where the spans go is said by the
environment, see docs/frameworks.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openinference.instrumentation import TraceConfig
from openinference.instrumentation.langchain import LangChainInstrumentor

import orchwatch

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

CALL = {"name": "order_status", "args": {"order": "17"}, "id": "call-order", "type": "tool_call"}
MODEL = GenericFakeChatModel(
    messages=iter(
        [
            AIMessage(content="", tool_calls=[CALL]),
            AIMessage(content="Your order was shipped."),
        ]
    )
)


@tool
def order_status(order: str) -> str:
    """Look an order up."""
    return f"{order}: shipped"


def clerk(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """A node that asks the model."""
    return {"messages": [MODEL.invoke(state["messages"], config)]}


def main() -> None:
    """Ask once."""
    orchwatch.configure()
    hidden = TraceConfig(hide_inputs=True, hide_outputs=True)
    LangChainInstrumentor().instrument(config=hidden)
    graph = StateGraph(MessagesState)
    graph.add_node("clerk", clerk)
    graph.add_node("tools", ToolNode([order_status]))
    graph.add_edge(START, "clerk")
    graph.add_conditional_edges("clerk", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "clerk")
    found = graph.compile(name="orders").invoke({"messages": [HumanMessage("Where is order 17?")]})
    print(found["messages"][-1].content)


if __name__ == "__main__":
    main()
