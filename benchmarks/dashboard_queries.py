"""How long the panels' own queries take on a month of a hundred services, or a thousand sessions.

Run by `make bench-dashboards`, against the real Prometheus and Tempo. Prints the slowest queries in
milliseconds, each at its best of some rounds, since what else the machine does is no part of it;
behind each group the limit that it is meant to keep.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import DURATION, TABLE, eventually, get, running, value

from build import binaries
from native import Ports, Stack
from orchwatch import semconv
from orchwatch.mixin import dashboards
from orchwatch.mixin.lib import alerting, level_series
from orchwatch.mixin.lib.promql import OPERATION
from orchwatch.mixin.rules import recording
from orchwatch.targets import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack.boards import Json

# A month of a hundred services, each with every operation of the table.
DAY_S = 86_400
MONTH_S = 30 * DAY_S
SERVICES = 100
# As the requirements have it: all queries of the page, one after the other.
OVERVIEW_WITHIN_S = QUERY_WITHIN_S = 0.5
SEARCH_WITHIN_S = 1.0
ROUNDS = 5
_SHOWN = 10
HOUR_S = 3600
SESSIONS = 1000
DURATION_EDGES = ("0.05", "+Inf")


def a_month(now_s: int) -> Iterator[str]:
    """Samples as OpenMetrics: rare ones of each service, and what the rules recorded of them."""
    rare = range(now_s - MONTH_S, now_s, 7200)
    for row_id in TABLE.operations:
        for service in range(SERVICES):
            for edge in DURATION_EDGES:
                labels = f'{OPERATION}="{row_id}",service_name="s{service}",le="{edge}"'
                for number, at_s in enumerate(rare):
                    yield f"{DURATION}_bucket{{{labels}}} {number} {at_s}\n"
    settings = alerting.load(config.Config())
    recorded = [
        f'{name}{{{OPERATION}="{row_id}"}}'
        for row_id in TABLE.operations
        for name in (
            f"{recording.P95}{settings.window}",
            f"{recording.WITHIN_RATIO}{settings.period}",
            f"{recording.ENDED}{settings.period}",
            recording.BUDGET_LEFT,
            recording.TARGET,
            recording.WARNING,
        )
    ]
    recorded += [
        f'{name}{{target="{row_id}"}}'
        for row_id in TABLE.levels
        for name in (level_series.VALUE, recording.LEVEL_TARGET, recording.LEVEL_WARNING)
    ]
    recorded.append(f'{recording.ERROR_BUDGET_LEFT}{{target="availability"}}')
    # As often as the rules are evaluated, for the day that the latest value is looked for in.
    times_s = [*range(now_s - MONTH_S, now_s - DAY_S, 600), *range(now_s - DAY_S, now_s, 15)]
    for series in recorded:
        for at_s in times_s:
            yield f"{series} 0.03 {at_s}\n"
    yield "# EOF\n"


@contextmanager
def prometheus(directory: Path) -> Iterator[Stack]:
    """Prometheus alone over the blocks in a directory."""
    paths, ports = binaries(), Ports.free()
    stack = Stack(directory, ports)
    (directory / "prometheus.yml").write_text("global: {}\n")
    command = [
        str(paths["prometheus"]),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'blocks'}",
        "--storage.tsdb.retention.time=60d",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            assert eventually(lambda: _ready(stack))
            yield stack
        finally:
            process.terminate()


def _ready(stack: Stack) -> bool:
    try:
        return bool(get(f"{stack.prometheus_url}/api/v1/status/buildinfo"))
    except OSError:
        return False


@contextmanager
def a_month_of_data(directory: Path) -> Iterator[Stack]:
    """Prometheus, and in it a month."""
    with (directory / "month").open("w") as file:
        file.writelines(a_month(int(time.time()) // 60 * 60))
    promtool = str(binaries()["promtool"])
    create = [promtool, "tsdb", "create-blocks-from", "openmetrics"]
    blocks = ["--max-block-duration=120h", "--quiet", f"{directory}/month", f"{directory}/blocks"]
    subprocess.run([*create, *blocks], check=True, capture_output=True, timeout=200)
    with prometheus(directory) as stack:
        series = f"count(last_over_time({DURATION}_bucket[3h]))"
        assert value(stack, series) == len(TABLE.operations) * SERVICES * len(DURATION_EDGES)
        yield stack


def targets(kind: str) -> Iterator[tuple[str, Json, Json]]:
    """Page, panel and target of each query to a kind of data source."""
    for page in dashboards.PAGES:
        for panel in boards.panels(page):
            for target in panel["targets"]:
                # The whole of one trace is no search.
                if target["datasource"]["type"] == kind and panel["type"] != "traces":
                    yield page, panel, target


def took_s(stack: Stack, kind: str, span: Span) -> list[dict[tuple[str, str, str], float]]:
    """What each query over a time range takes, in each of some rounds."""
    chosen = {"operation": semconv.STATE_QUERY}
    values = {page: boards.variables(stack, page, span, chosen) for page in dashboards.PAGES}
    rounds = []
    for _ in range(ROUNDS):
        found = {}
        for page, panel, target in targets(kind):
            started_s = time.perf_counter()
            boards.asked(stack, panel, target, span, values[page])
            found[page, panel["title"], target["refId"]] = time.perf_counter() - started_s
        rounds.append(found)
    return rounds


def show(what: str, rounds: list[dict[tuple[str, str, str], float]], limit_s: float) -> None:
    """Prints the slowest queries, and how many took longer than they may."""
    best_s = {" / ".join(name): min(one[name] for one in rounds) for name in rounds[0]}
    over = sum(took > limit_s for took in best_s.values())
    print(f"{what}: {len(best_s)} queries, {over} above {limit_s * 1000:.0f} ms; the slowest:")
    for name, took in sorted(best_s.items(), key=lambda one: -one[1])[:_SHOWN]:
        print(f"{took * 1000:>8.1f} ms  {name}")


def on_a_month(directory: Path) -> None:
    """Times what asks Prometheus: each query over the month, and the home page over its hour."""
    now_s = time.time()
    with a_month_of_data(directory) as stack:
        month = took_s(stack, "prometheus", Span(now_s - MONTH_S, now_s))
        show(f"a month of {SERVICES} services", month, QUERY_WITHIN_S)
        hour = took_s(stack, "prometheus", Span(now_s - HOUR_S, now_s))
    overview = [sum(took for (page, *_), took in one.items() if page == "overview") for one in hour]
    print(
        f"the home page, its queries one after the other: {min(overview) * 1000:.0f} ms"
        f" of {OVERVIEW_WITHIN_S * 1000:.0f} ms"
    )


def a_thousand_sessions() -> list[Json]:
    """Each a turn with a sub-agent, a hook, a failure and tools, ended within the last hour."""
    spans = []
    for number in range(SESSIONS):
        turn = workload.ended(semconv.AGENT_TURN, 30, ago_s=number * 3, session=f"s-{number}")
        more = {"trace": turn["traceId"], "session": f"s-{number}"}
        inside = [
            workload.ended(semconv.AGENT_RUN, 9, ago_s=number * 3, agent="Explore", **more),
            workload.ended(semconv.HOOK_PROCESS, 0.1, ago_s=number * 3, hook="lint.sh", **more),
            workload.ended(semconv.STATE_QUERY, 0.1, ago_s=number * 3, error="E", **more),
            *(
                workload.ended(semconv.TOOL_EXECUTE, 1, ago_s=number * 3, tool="Bash", **more)
                for _ in range(6)
            ),
        ]
        for one in inside:
            one["parentSpanId"] = turn["spanId"]
        spans += [turn, *inside]
    return spans


def on_many_sessions(directory: Path) -> None:
    """Times what asks Tempo, over an hour."""
    spans = a_thousand_sessions()
    with running(directory) as stack:
        workload.write(stack, "many-sessions", spans)
        query = '{ resource.service.name = "many-sessions" }'
        assert eventually(
            lambda: boards.number_of_spans(stack, query, Span.last(HOUR_S)) == len(spans)
        )
        searches = took_s(stack, "tempo", Span.last(HOUR_S))
    show(f"an hour of {SESSIONS} sessions", searches, SEARCH_WITHIN_S)


def main() -> None:
    """Runs both, each over servers and data of its own."""
    with tempfile.TemporaryDirectory() as place:
        for measure in (on_a_month, on_many_sessions):
            directory = Path(place) / measure.__name__
            directory.mkdir()
            measure(directory)


if __name__ == "__main__":
    main()
