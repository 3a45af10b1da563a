"""Imports of sessions, and the spans that they give."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents import registry
from orchwatch.agents.importer import Summary, import_sessions
from orchwatch.agents.reader import session_files
from orchwatch.agents.sessions.import_record import ImportRecord

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).parents[5] / "shared" / "data" / "agents"
_LEAST_CHARS = 12  # of a text that is no chance
KINDS = {
    "requests": "orchestration.api.requests",
    "input": "gen_ai.usage.input_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


@dataclass(frozen=True)
class Span:
    """One that was imported; times are Unix nanoseconds."""

    name: str
    span_id: str
    parent_id: str
    trace_id: str
    start_ns: int
    end_ns: int
    status: int
    attributes: dict[str, Any] = field(hash=False)

    @property
    def call(self) -> str:
        found: str = self.attributes.get("gen_ai.tool.call.id", "")
        return found if self.name.startswith("execute_tool") else ""

    @property
    def error(self) -> str:
        found: str = self.attributes.get("error.type", "")
        return found

    @property
    def unfinished(self) -> str:
        found: str = self.attributes.get("orchestration.unfinished.reason", "")
        return found

    @property
    def is_turn(self) -> bool:
        """Of a session, and no sub-agent's."""
        return self.attributes.get("orchestration.operation.name") == "agent.turn"

    @property
    def is_agent(self) -> bool:
        return self.attributes.get("orchestration.operation.name") == "agent.run"


def used(*spans: Span) -> Counter[str]:
    """Requests and tokens, added up."""
    total: Counter[str] = Counter()
    for span in spans:
        total.update({kind: span.attributes.get(key, 0) for kind, key in KINDS.items()})
    return total


def said(truth: dict[str, Any]) -> set[str]:
    """What conversations were about, as it would stand in JSON if it were long enough to tell."""
    secrets = {str(run["args"][-1]) for run in truth["runs"]}
    secrets |= {request["text"] for request in truth["requests"] if request.get("text")}
    for call in truth["tools"]:
        secrets |= set(map(str, call["args"].values()))
        secrets |= set(str(call.get("result_head")).splitlines())
    wanted = {json.dumps(one)[1:-1] for one in secrets if len(one) >= _LEAST_CHARS}
    assert len(wanted) > _LEAST_CHARS
    return wanted


@pytest.fixture
def import_of() -> Callable[..., Summary]:
    """Imports files and folders of one agent in this process; counts what is none of its."""

    def run(agent: str, *paths: Path) -> Summary:
        reader = registry.named(agent)
        found, strange = reader.find(session_files(map(str, paths), reader.suffixes))
        with ImportRecord(lambda: None) as record:
            summary = import_sessions([(reader, one) for one in found], record, lambda _: None)
        if strange:
            summary.skipped["file of no session"] += len(strange)
        return summary

    return run


@pytest.fixture
def imported(
    lines: Callable[[str], tuple[list[dict[str, Any]], int]],
) -> Callable[[], list[Span]]:
    """Reads the imported spans."""

    def read() -> list[Span]:
        return [
            Span(
                span["name"],
                span["spanId"],
                span.get("parentSpanId", ""),
                span["traceId"],
                int(span["startTimeUnixNano"]),
                int(span["endTimeUnixNano"]),
                span["status"].get("code", 0),
                {pair["key"]: _value(pair) for pair in span["attributes"]},
            )
            for line in lines("history")[0]
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read


def _value(pair: dict[str, Any]) -> Any:
    kind, content = next(iter(pair["value"].items()))
    return int(content) if kind == "intValue" else content
