"""Imports an agent's files in the test's process, and reads what that has added."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.agents.importer import Summary, import_sessions
from orchwatch.agents.reader import session_files
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.import_record import ImportRecord
from orchwatch.agents.sessions.lines import merged
from orchwatch.agents.sessions.spans import encode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchwatch.agents.reader import Reader
    from orchwatch.agents.sessions.spans import Span
    from orchwatch.monitor.other_agents import OtherAgent


_LATER_NS = 4_000_000_000 * 1_000_000_000
_SILENT_NS = 7200 * 1_000_000_000
_USAGE = {
    "requests": "orchestration.api.requests",
    "input": "gen_ai.usage.input_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


def add(reader: Reader, *paths: Path) -> Summary:
    """Imports the sessions in files and folders."""
    found, _ = reader.find(session_files(map(str, paths), reader.suffixes))
    with ImportRecord(lambda: None) as record:
        return import_sessions([(reader, one) for one in found], record, lambda _: None)


def in_memory(reader: Reader, *paths: Path) -> tuple[list[Span], Counter[str], str]:
    """What an import would add: the spans, what was passed over, and the lines for the spool."""
    claims = Claims()
    skipped: Counter[str] = Counter()
    spans: list[Span] = []
    found, strange = reader.find(session_files(map(str, paths), reader.suffixes))
    skipped.update(dict.fromkeys(strange, 1))
    for session in found:
        assembler = Assembler(provider=reader.provider)
        sources = [reader.source(file, skipped) for file in session.files]
        readers = [reader.file_reader(session, file, claims) for file in session.files]
        for index in merged(sources):
            for record in sources[index].take()[0]:
                for fact in readers[index].read_record(record):
                    assembler.add(fact)
        spans += assembler.finished(_LATER_NS)
        for one in readers:
            skipped += one.skipped
    lines = b"".join(encode(spans, reader.name)).decode() if spans else ""
    return spans, +skipped, lines


def followed(agent: OtherAgent, written: Iterable[object]) -> dict[str, Span]:
    """What the monitor records while something is written, by span id.

    Args:
        agent: What follows it.
        written: Writes on with each step.
    """
    spans: dict[str, Span] = {}
    for number, _ in enumerate(written, 1):
        agent.step(number * 100.0)
        for span in agent.finished(time.time_ns()):
            spans.setdefault(span.span_id, span)
    for span in agent.finished(time.time_ns() + _SILENT_NS):
        spans.setdefault(span.span_id, span)
    return spans


def spans_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans of lines of the spool by their start, attributes as a plain dict."""
    found = [
        {**span, "attributes": {pair["key"]: _value(pair) for pair in span["attributes"]}}
        for line in lines
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    return sorted(found, key=lambda span: int(span["startTimeUnixNano"]))


def by_id(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What must not depend on when it was imported."""
    return {span["spanId"]: span for span in spans}


def tools(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tool calls by their id."""
    return {
        span["attributes"]["gen_ai.tool.call.id"]: span
        for span in spans
        if span["name"].startswith("execute_tool")
    }


def used(spans: list[dict[str, Any]]) -> Counter[str]:
    """What turns and sub-agents used, summed up."""
    total: Counter[str] = Counter()
    for span in spans:
        total.update({kind: span["attributes"].get(key, 0) for kind, key in _USAGE.items()})
    return total


def times_ms(span: dict[str, Any]) -> list[float]:
    """When it began and ended, Unix milliseconds."""
    return [int(span[key]) / 1e6 for key in ("startTimeUnixNano", "endTimeUnixNano")]


def _value(pair: dict[str, Any]) -> Any:
    kind, content = next(iter(pair["value"].items()))
    return int(content) if kind == "intValue" else content
