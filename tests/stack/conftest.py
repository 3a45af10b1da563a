"""What the tests on the real servers share: the stack, and what was sent, stored and counted."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from bisect import bisect_right
from contextlib import ExitStack, contextmanager
from textwrap import dedent
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from native import HOST, Ports, Stack
from orchwatch import semconv
from orchwatch.targets import config, target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from http.client import HTTPResponse
    from pathlib import Path

# Waits end with the answer: long ones cost nothing but where something is broken, and short ones
# fail on a machine that is busy with something else.
VISIBLE_WITHIN_S = 90.0
ENDED_WITHIN_S = 120.0
# What Prometheus evaluates every 15 s, and what arrived in between.
EVALUATED_WITHIN_S = 120.0
# As shipped, whatever file of their own somebody has.
TABLE = target_table.load(config.Config())
DURATION = "orchestration_operation_duration_seconds"

Json = dict[str, Any]
T = TypeVar("T")


_KNOWN: dict[str, Stack] = {}


def known(stack: Stack) -> Stack:
    """The same stack, whose servers `opened` shows from now on what they want to be shown."""
    _KNOWN.update({f"{HOST}:{port}": stack for port in stack.ports.numbers().values()})
    return stack


def opened(asked: str | urllib.request.Request, timeout_s: float = ENDED_WITHIN_S) -> HTTPResponse:
    """The answer of a server of a known stack."""
    request = urllib.request.Request(asked) if isinstance(asked, str) else asked
    stack = _KNOWN.get(request.host)
    if stack is not None:
        request.add_header("Authorization", stack.authorization)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
    return answer


@contextmanager
def running(home: Path) -> Iterator[Stack]:
    """A stack on ports of its own; what it holds at the end is of no use to anybody."""
    found = known(Stack(home, Ports.free()))
    found.start()
    try:
        yield found
    finally:
        for component in found.running():
            found.kill_component(component, signal.SIGKILL)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests that leave the servers alone; each keeps to service names of its own."""
    with running(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """For a test that kills servers."""
    with running(tmp_path / "stack") as found:
        yield found


def eventually(
    ask: Callable[[], T], within_s: float = VISIBLE_WITHIN_S, *, every_s: float = 0.1
) -> T:
    """The first answer that is not empty, or the last one when the time is up."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(every_s)
    return answer


# Programs that record operations.


@contextmanager
def programs(
    stack: Stack,
    service: str,
    code: str,
    *words: str,
    number: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that run `code` with `words`; each should wait for a line, which `finish` sends."""
    inherited = {
        variable: text
        for variable, text in os.environ.items()
        if not variable.startswith(("ORCHWATCH_", "OTEL_", "TRACEPARENT", "BAGGAGE"))
    }
    own = {
        "ORCHWATCH_HOME": str(stack.home),
        "ORCHWATCH_SERVICE_NAME": service,
        "XDG_CONFIG_HOME": str(stack.home),  # not the user's own targets
    }
    with ExitStack() as running:
        started = []
        for _ in range(number):
            process = subprocess.Popen(
                [sys.executable, "-c", dedent(code), *words],
                env={**inherited, **own, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(running.enter_context(process))
            running.callback(process.kill)
        yield started


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Sends each a line, at once, and waits until all have ended well; what they printed."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=ENDED_WITHIN_S) for process in processes]
    assert {process.returncode for process in processes} == {0}, ended
    assert {err for _, err in ended} == {""}
    return [out for out, _ in ended]


def run(
    stack: Stack,
    service: str,
    code: str,
    *words: str,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Runs one program to its end; what it printed."""
    with programs(stack, service, code, *words, environment=environment) as processes:
        return finish(processes)[0]


# Operations that have ended just now and took as long as a test likes.


def write_operations(
    stack: Stack, segment: str, durations_s: Mapping[str, float], number: int, error: str = ""
) -> None:
    """Writes a segment of its own: so many operations of each name, of an error type if it says."""
    header = {"orchwatch": {"segment": segment, "id": secrets.token_hex(16)}, "resourceSpans": []}
    spans = [
        _ended_now(operation, duration_s, error)
        for operation, duration_s in durations_s.items()
        for _ in range(number)
    ]
    resource = {"attributes": [_text(semconv.SERVICE_NAME, "written")]}
    scopes = [{"scope": {"name": semconv.SCOPE}, "spans": spans}]
    lines = [header, {"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (stack.spool / f"operations-{segment}.jsonl").write_text(text)


def _ended_now(operation: str, duration_s: float, error: str) -> Json:
    ended_ns = time.time_ns()
    attributes = [_text(semconv.OPERATION_NAME, operation)]
    return {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": operation,
        "kind": 1,
        "startTimeUnixNano": str(ended_ns - round(duration_s * 1e9)),
        "endTimeUnixNano": str(ended_ns),
        "attributes": [*attributes, _text(semconv.ERROR_TYPE, error)] if error else attributes,
        "status": {"code": 2 if error else 1},
    }


def _text(key: str, text: str) -> Json:
    return {"key": key, "value": {"stringValue": text}}


# What was emitted, and what Tempo has: comparable as they are.


class Span(NamedTuple):
    """One span; ids are hexadecimal digits, `parent_span_id` is empty for a root span."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    end_ns: int
    error_type: str

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def spooled(stack: Stack, service: str, family: str = "operations") -> list[Span]:
    """The spans of a service in the spool, in the order in which they were written."""
    spans = []
    for segment in sorted(stack.spool.glob(f"{family}-*.jsonl")):
        for line in filter(None, segment.read_text().split("\n")):
            for resource_spans in json.loads(line)["resourceSpans"]:
                if _texts(resource_spans["resource"])[semconv.SERVICE_NAME] == service:
                    spans += _spans(resource_spans, _same)
    return spans


def stored(stack: Stack, trace_id: str) -> list[Span]:
    """The spans that Tempo has of a trace."""
    batches = get(f"{stack.tempo_url}/api/traces/{trace_id}").get("batches", [])
    return [one for batch in batches for one in _spans(batch, _hexadecimal)]


def _spans(resource_spans: Json, decode: Callable[[str], str]) -> list[Span]:
    return [
        Span(
            trace_id=decode(one["traceId"]),
            span_id=decode(one["spanId"]),
            parent_span_id=decode(one.get("parentSpanId", "")),
            name=one["name"],
            start_ns=int(one["startTimeUnixNano"]),
            end_ns=int(one["endTimeUnixNano"]),
            error_type=_texts(one).get(semconv.ERROR_TYPE, ""),
        )
        for scope_spans in resource_spans["scopeSpans"]
        for one in scope_spans["spans"]
    ]


def _texts(item: Json) -> dict[str, str]:
    return {
        entry["key"]: entry["value"]["stringValue"]
        for entry in item.get("attributes", [])
        if "stringValue" in entry["value"]
    }


def _same(digits: str) -> str:
    return digits


def _hexadecimal(base64_digits: str) -> str:
    return base64.b64decode(base64_digits).hex()


# What Prometheus has, and what it should have.


def expected_buckets(spans: Iterable[Span]) -> dict[float, int]:
    """How many spans lasted up to each edge of the table, in seconds, and how many there are."""
    durations_s = sorted(span.duration_s for span in spans)
    edges_s = (*TABLE.edges_s, float("inf"))
    return {edge_s: bisect_right(durations_s, edge_s) for edge_s in edges_s}


def buckets(stack: Stack, **labels: str) -> dict[float, float]:
    """The operations that Prometheus has up to each edge; series that `labels` leaves open summed.

    Equal counts mean equal numbers: Prometheus answers with the samples as they are.
    """
    found: dict[float, float] = {}
    for series, count in samples(stack, f"{DURATION}_bucket{selector(**labels)}"):
        edge_s = float(series["le"])
        found[edge_s] = found.get(edge_s, 0) + count
    return found


def counted(stack: Stack, **labels: str) -> float:
    """How many operations Prometheus has."""
    return sum(count for _, count in samples(stack, f"{DURATION}_count{selector(**labels)}"))


def selector(**labels: str) -> str:
    """As PromQL writes it; `operation` stands for the long label name."""
    long_names = {"operation": "orchestration_operation_name", "service": "service_name"}
    pairs = [f'{long_names.get(name, name)}="{text}"' for name, text in labels.items()]
    return "{" + ",".join(pairs) + "}"


def samples(stack: Stack, query: str) -> list[tuple[dict[str, str], float]]:
    """What an instant query answers: labels and value of each series."""
    answer = get(f"{stack.prometheus_url}/api/v1/query", query=query)
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def value(stack: Stack, query: str) -> float | None:
    """The value of the only series that a query answers, None if there is none."""
    found = samples(stack, query)
    return found[0][1] if found else None


def search(stack: Stack, query: str, **parameters: object) -> set[str]:
    """The ids of the traces that a TraceQL query finds, with the zeros that Tempo leaves out."""
    found = get(f"{stack.tempo_url}/api/search", q=query, limit=1000, **parameters)
    return {trace["traceID"].zfill(32) for trace in found.get("traces", [])}


def get(url: str, **parameters: object) -> Json:
    """The JSON that an address answers; empty for what does not exist."""
    query = urllib.parse.urlencode(parameters)
    try:
        with opened(f"{url}?{query}") as answer:
            found: Json = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise
