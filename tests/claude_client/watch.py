"""What Orchwatch recorded of a client's sessions, beside what its model was asked."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.claude_client.client import Client
    from tests.claude_client.model_stub import Request

WITHIN_S = 60.0
ORCHWATCH = Path(sys.executable).parent / "orchwatch"
_STORED = ("operations-", "history-", "undelivered-")
_TOKENS = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation": "gen_ai.usage.cache_write.input_tokens",
}


@dataclass(frozen=True)
class Span:
    """A span of the spool, times in seconds."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_s: float
    end_s: float
    failed: bool
    attributes: dict[str, Any]

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class Watch:
    """An `ORCHWATCH_HOME` of its own beside a client."""

    def __init__(self, home: Path, client: Client) -> None:
        self.home = home
        self.log = home.with_name("monitor.log")
        self.environment = {
            **client.variables(),
            "ORCHWATCH_HOME": str(home),
            "NO_COLOR": "1",
        }
        self.client = client

    def run(self, *words: str) -> str:
        """One `orchwatch` command; what it prints."""
        done = subprocess.run(
            [ORCHWATCH, *words],
            env=self.environment,
            cwd=self.client.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def spans(self) -> list[Span]:
        """All spans that are stored, by start."""
        return read(
            line
            for segment in sorted((self.home / "spool").glob("*.jsonl"))
            if segment.name.startswith(_STORED)
            for line in segment.read_bytes().splitlines()
        )


def read(lines: Iterable[bytes]) -> list[Span]:
    """The spans in lines of the spool, by start."""
    found = [
        _span(span)
        for line in lines
        for resource in json.loads(line).get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for span in scope.get("spans", [])
    ]
    return sorted(found, key=lambda span: (span.start_s, span.end_s, span.span_id))


@contextmanager
def monitor(watch: Watch) -> Iterator[None]:
    """`orchwatch monitor`, until what it follows is stored; what it says goes to `watch.log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        watch.environment["ORCHWATCH_MONITOR_PORT"] = str(probe.getsockname()[1])
    with watch.log.open("ab") as log:
        process = subprocess.Popen(
            [ORCHWATCH, "monitor"],
            env=watch.environment,
            cwd=watch.client.project,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)


def summary(spans: list[Span]) -> dict[str, dict[str, Any]]:
    """By session: requests, tokens, tool calls by name and outcome."""
    told: dict[str, dict[str, Any]] = {}
    for span in spans:
        session = told.setdefault(
            span.attributes.get("session.id", ""),
            {"requests": 0, "tokens": Counter(), "tools": Counter(), "failed": Counter()},
        )
        if span.name.startswith("execute_tool"):
            name = span.attributes["gen_ai.tool.name"]
            session["tools"][name] += 1
            session["failed"][name] += span.failed
        operation = span.attributes.get("orchestration.operation.name")
        if operation in {"agent.turn", "agent.run"}:
            session["requests"] += span.attributes.get("orchestration.api.requests", 0)
            for kind, name in _TOKENS.items():
                session["tokens"][kind] += span.attributes.get(name, 0)
    return {key: _tidy(session) for key, session in told.items()}


def truth(requests: list[Request]) -> dict[str, dict[str, Any]]:
    """The same of what the model was asked."""
    told: dict[str, dict[str, Any]] = {}
    names: dict[str, tuple[str, str]] = {}
    for request in requests:
        session = told.setdefault(
            request.session_id,
            {"requests": 0, "tokens": Counter(), "tools": Counter(), "failed": Counter()},
        )
        for call, name in request.tools:
            names[call] = (request.session_id, name)
            session["tools"][name] += 1
        if request.status == 200:
            usage = request.usage
            session["requests"] += 1
            session["tokens"]["output"] += usage["output_tokens"]
            session["tokens"]["cache_read"] += usage["cache_read_input_tokens"]
            session["tokens"]["cache_creation"] += usage["cache_creation_input_tokens"]
            session["tokens"]["input"] += sum(
                usage[kind]
                for kind in (
                    "input_tokens",
                    "cache_read_input_tokens",
                    "cache_creation_input_tokens",
                )
            )
    failed = {call for request in requests for call, error in request.results if error}
    for call in failed & names.keys():
        session_id, name = names[call]
        told[session_id]["failed"][name] += 1
    return {key: _tidy(session) for key, session in told.items()}


def _tidy(session: dict[str, Any]) -> dict[str, Any]:
    return {key: +value if isinstance(value, Counter) else value for key, value in session.items()}


def _span(raw: dict[str, Any]) -> Span:
    return Span(
        trace_id=raw["traceId"],
        span_id=raw["spanId"],
        parent_span_id=raw.get("parentSpanId", ""),
        name=raw["name"],
        start_s=int(raw["startTimeUnixNano"]) / 1e9,
        end_s=int(raw["endTimeUnixNano"]) / 1e9,
        failed=raw.get("status", {}).get("code") == 2,
        attributes={entry["key"]: _value(entry["value"]) for entry in raw["attributes"]},
    )


def _value(told: dict[str, Any]) -> Any:
    ((kind, value),) = told.items()
    return int(value) if kind == "intValue" else value
