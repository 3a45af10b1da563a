"""Every query of every panel, on the real Prometheus and Tempo, after a real orchestration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.stack import boards
from tests.stack.boards import Span
from tests.stack.conftest import Json, eventually, get, running, spooled

from build import binaries
from orchwatch import semconv
from orchwatch.mixin import dashboards
from orchwatch.mixin.dashboards import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native import Stack

REPO = Path(__file__).parents[2]
# Rules over a long window are evaluated every two minutes, from a moment that Prometheus chooses.
RECORDED_WITHIN_S = 360
ORCHWATCH = [sys.executable, "-m", "orchwatch.cli"]

NO_REPORT = "the directory that the monitor process looks at is no project with reports"
NO_MODEL = "the demo workload uses no model"
NO_TURN = "the demo workload is no agent that somebody asks"
NONE_FAILED = "no operation of the demo workload fails"
NOTHING_LOST = "no program loses anything"
NOTHING_REFUSED = "nothing was refused"
NO_PAST = "a straight line needs more past than the test has"
NO_TELEMETRY = "Claude Code's own telemetry is off"
BEYOND = "Who was beyond a target, and the trace that shows it${cut}"
# Queries that need not answer, and why; everything else must.
EXCEPTIONS = {
    ("overview", "Levels against their targets", "level0"): "no Claude Code session runs",
    ("overview", "Levels against their targets", "level2"): NO_REPORT,
    ("overview", "Firing alerts", "A"): "nothing need fire",
    ("overview", BEYOND, "A"): "nothing need be slow",
    ("operations", "Failures by type", "A"): NONE_FAILED,
    ("operations", "p50, p95 and p99 against the target", "before"): NO_PAST,
    ("operations", "Operations a second", "before"): NO_PAST,
    ("hooks", "Failures by type", "A"): NONE_FAILED,
    ("hooks", "p50, p95 and p99 against the target", "before"): NO_PAST,
    ("flame", "What took longest of its own", "before"): NO_PAST,
    ("agents", "Messages a second, by what became of them", "C"): "no message need be late",
    ("agents", "Messages a second, by what became of them", "D"): "no message is given up",
    ("agents", "Where the time of turns went", "A"): NO_TURN,
    ("session", "Tokens by model", "A"): NO_MODEL,
    ("session", "What failed", "A"): NONE_FAILED,
    ("resources", "Memory of a session", "A"): "no Claude Code session runs",
    ("resources", "Memory by service", "B"): "no Claude Code session runs",
    ("kpis", "Test coverage", "A"): NO_REPORT,
    ("kpis", "Code quality", "A"): NO_REPORT,
    ("kpis", "Documented", "A"): NO_REPORT,
    ("kpis", "Tokens by model and kind", "A"): NO_MODEL,
    ("kpis", "Cost by model", "A"): NO_TELEMETRY,
    ("pipeline", "Lost or ignored by programs, by reason", "range"): NOTHING_LOST,
    ("pipeline", "Lost or ignored by programs, by reason", "ever"): NOTHING_LOST,
    ("pipeline", "Spans and points a second", "D"): NOTHING_REFUSED,
    ("pipeline", "Prometheus: samples a second", "B"): NOTHING_REFUSED,
    ("pipeline", "Tempo: spans a second", "B"): NOTHING_REFUSED,
    ("kpis", "Tokens of all sessions, imported too", "A"): NO_MODEL,
    **{
        ("resources", f"{what}, and its forecasts", "forecast"): NO_PAST
        for what in ("Memory", "Free disk", "What is stored")
    },
    **{
        ("resources", "If it goes on like this", ref): NO_PAST
        for ref in ("memory", "free", "stored")
    },
}
# Of each level: for how long it was not reported.
AGE = "age"


class Query(NamedTuple):
    """A query of a panel."""

    page: str
    panel: str
    ref: str
    source: str
    text: str
    instant: bool
    traces: int
    spans: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.page, self.panel, self.ref


class Answer(NamedTuple):
    """How many series, or traces, a query found, and how long that took."""

    found: int
    took_s: float


def panel_queries() -> list[Query]:
    found = []
    for page in dashboards.PAGES:
        for panel in boards.panels(page):
            found += [
                Query(
                    page=page,
                    panel=panel["title"],
                    ref=target["refId"],
                    source=target["datasource"]["type"],
                    text=target["expr"] if "expr" in target else target["query"],
                    instant=target.get("instant", False),
                    traces=target.get("limit", 0),
                    spans=target.get("spss", 3),
                )
                for target in panel["targets"]
            ]
    return found


def filled(stack: Stack, query: Query, trace_id: str, session_id: str = queries.ANY) -> str:
    """As Grafana sends it, with everything chosen, or one session."""
    chosen = {"operation": "message.deliver", "session": session_id, "trace": trace_id}
    values = boards.variables(stack, query.page, Span.last(3600), chosen)
    return boards.filled(query.text, {**chosen, **values})


def ask(stack: Stack, query: Query, trace_id: str) -> Answer:
    started_s, now_s = time.perf_counter(), time.time()
    text = filled(stack, query, trace_id)
    if query.source == "tempo" and not text.startswith("{"):
        found = get(f"{stack.tempo_url}/api/traces/{text}").get("batches", [])
    elif query.source == "tempo":
        hour = {"start": int(now_s) - 3600, "end": int(now_s)}
        found = search(stack, query, text, **hour)
    else:
        url = f"{stack.prometheus_url}/api/v1/query"
        if query.instant:
            answer = get(url, query=text)
        else:
            span = {"start": now_s - 3600, "end": now_s, "step": 15}
            answer = get(f"{url}_range", query=text, **span)
        found = [one for one in answer["data"]["result"] if _has_number(one)]
    return Answer(len(found), time.perf_counter() - started_s)


def search(stack: Stack, query: Query, text: str, **span: int) -> list[Json]:
    """The traces of a TraceQL query, as Grafana asks for them."""
    much = {"limit": query.traces, "spss": query.spans}
    found: list[Json] = get(f"{stack.tempo_url}/api/search", q=text, **much, **span)["traces"]
    return found


def _has_number(series: Json) -> bool:
    """A column that nothing was measured for is there, and says so: that is no answer."""
    samples = series["values"] if "values" in series else [series["value"]]
    return any(number != "NaN" for _, number in samples)


@contextmanager
def monitored(stack: Stack, directory: Path) -> Iterator[dict[str, str]]:
    """The monitor process over an empty folder of sessions; the environment that it runs in."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("OTEL_")},
        "ORCHWATCH_HOME": str(stack.home),
        "XDG_CONFIG_HOME": str(stack.home),
        "ORCHWATCH_MONITOR_PORT": str(stack.ports.monitor),
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    }
    process = subprocess.Popen(
        [*ORCHWATCH, "monitor", "--projects", str(directory)],
        cwd=directory,
        env=environment
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_url,
        },
    )
    try:
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.timeout(600)
def test_every_query_of_every_panel_answers_after_the_demo(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    with running(tmp_path / "stack") as stack, monitored(stack, projects) as environment:
        answers: dict[Query, Answer] = {}

        def unanswered() -> list[Query]:
            # Each round brings operations, so that rates have more than one sample.
            demo = [*ORCHWATCH, "demo", "--agents", "3", "--files", "40"]
            subprocess.run(demo, env=environment, check=True, capture_output=True, timeout=120)
            trace_id = spooled(stack, "orchestration")[0].trace_id
            for query in panel_queries():
                if query not in answers or not answers[query].found:
                    answers[query] = ask(stack, query, trace_id)
            return [
                query
                for query, answer in answers.items()
                if not answer.found and query.key not in EXCEPTIONS and query.ref != AGE
            ]

        eventually(lambda: not unanswered(), RECORDED_WITHIN_S)
        print_report(answers)
        assert unanswered() == []


def print_report(answers: dict[Query, Answer]) -> None:
    for query, (found, took_s) in answers.items():
        name = f"{query.page} / {query.panel} / {query.ref}"
        reason = "" if found else EXCEPTIONS.get(query.key, "NO DATA")
        print(f"{name:<70}{found:>5} {took_s * 1000:>7.1f} ms  {reason}")
        print(f"    {query.text}")


SESSIONS = REPO / "tests/data/claude"
SESSION_ID = "258c7280-ae70-4798-800f-63464d01a85d"


def test_an_imported_session_is_listed_and_shown_whole_at_its_own_time(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        environment = {**os.environ, "ORCHWATCH_HOME": str(stack.home), "XDG_CONFIG_HOME": ""}
        command = [*ORCHWATCH, "claude", "import", "--format", "json", str(SESSIONS)]
        imported = subprocess.run(
            command, env=environment, check=True, capture_output=True, timeout=60
        )
        told = json.loads(imported.stdout)
        asked = {name: one[0] for name, one in parse_qs(urlsplit(told["dashboard"]).query).items()}
        assert asked["var-session"] == SESSION_ID
        span = {"start": int(asked["from"]) // 1000, "end": int(asked["to"]) // 1000 + 1}
        values = f"{stack.tempo_url}/api/v2/search/tag/span.{semconv.SESSION_ID}/values"
        assert eventually(lambda: SESSION_ID in str(get(values, **span)))

        def lanes() -> dict[str, int]:
            """The spans of each row of who was busy."""
            (query,) = (one for one in panel_queries() if one.panel.startswith("Who was busy"))
            found: Counter[str] = Counter()
            for trace in search(stack, query, filled(stack, query, "", SESSION_ID), **span):
                for one in spans_of(trace):
                    found[" ".join(one.get(key, "") for key in LANE).strip()] += 1
            return dict(found)

        # Sub-agents beside the session's own turns, which name no agent.
        assert eventually(
            lambda: (
                lanes()
                == {
                    semconv.AGENT_TURN: told["turns"],
                    f"{semconv.AGENT_RUN} compact acompact-fffbd0": 1,
                    f"{semconv.AGENT_RUN} claude-code-guide a881341": 1,
                }
            )
        )

        def counted() -> dict[str, int]:
            """The numbers in the table of the session's operations."""
            (query,) = (one for one in panel_queries() if one.panel == "Operations in it")
            found: Counter[str] = Counter()
            for trace in search(stack, query, filled(stack, query, "", SESSION_ID), **span):
                for group in trace["spanSets"]:
                    has = attributes(group)
                    found[has[f"by({queries.NAME})"]] += int(has["count()"])
            return dict(found)

        tools = sum(told["tools"].values())
        eventually(lambda: counted().get(semconv.TOOL_EXECUTE) == tools)
        assert counted()[semconv.TOOL_EXECUTE] == tools


LANE = (semconv.OPERATION_NAME, semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_AGENT_ID)


def attributes(found: Json) -> dict[str, str]:
    return {one["key"]: str(*one["value"].values()) for one in found.get("attributes", [])}


def spans_of(trace: Json) -> list[dict[str, str]]:
    return [attributes(span) for group in trace["spanSets"] for span in group["spans"]]


@pytest.mark.parametrize("page", dashboards.PAGES)
def test_the_linter_of_dashboards_finds_nothing_to_say(page: str) -> None:
    file = str(REPO / dashboards.DIRECTORY / f"{page}.json")
    command = [str(binaries()["dashboard-linter"]), "lint", "--strict", file]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_an_exception_names_a_query_that_is_there() -> None:
    assert {query.key for query in panel_queries()} >= set(EXCEPTIONS)
