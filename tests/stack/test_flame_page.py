"""The page of flame graphs: what Grafana draws of the monitor's counters is what `flame` says."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import eventually, get, running
from tests.stack.test_dashboards import monitored

from orchwatch import semconv
from orchwatch.analysis import flame
from orchwatch.monitor.call_paths import ALL, CallPaths
from orchwatch.store.outlines import Outline

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.boards import Json

    from native import Stack

THIS, BEFORE = "This time range", "The time range before"
NS_PER_S = 1e9
HOUR_S = 3600
# A counter is told once a minute, of what has been quiet for a while.
TOLD_WITHIN_S = 240
ORDER, LEVEL, PATH = (
    name.replace(".", "_") for name in (semconv.CALL_ORDER, semconv.CALL_LEVEL, semconv.CALL_PATH)
)


def called(spans: list[Json], caller: Json, operation: str, took_s: float, **more: Any) -> Json:
    """A span that another one called, which began with it, or after the last one that it called."""
    begins_ns = max(
        [int(caller["startTimeUnixNano"])]
        + [int(s["endTimeUnixNano"]) for s in spans if s.get("parentSpanId") == caller["spanId"]]
    )
    span = {
        **workload.ended(operation, took_s, trace=caller["traceId"], **more),
        "parentSpanId": caller["spanId"],
        "startTimeUnixNano": str(begins_ns),
        "endTimeUnixNano": str(begins_ns + round(took_s * NS_PER_S)),
    }
    spans.append(span)
    return span


def traces() -> list[Json]:
    """Turns that call hooks and agents, which call more, and operations that nothing calls."""
    spans: list[Json] = []
    for number in range(3):
        spans.append(turn := workload.ended(semconv.AGENT_TURN, 20))
        called(spans, turn, semconv.HOOK_PROCESS, 0.5, hook="lint.sh", event="Stop")
        agent = called(spans, turn, semconv.AGENT_RUN, 8 + number, agent="Explore")
        called(spans, agent, semconv.STATE_QUERY, 0.25)
        # Side by side with it, and after its caller has ended.
        beside = called(spans, agent, semconv.STATE_PERSIST, 9)
        beside["startTimeUnixNano"] = agent["startTimeUnixNano"]
    spans += [workload.ended(semconv.STATE_QUERY, 0.125) for _ in range(4)]
    return spans


def frames(stack: Stack, service: str) -> dict[tuple[str, ...], Json]:
    """What `orchwatch flame` says: each frame by its path."""
    command = [sys.executable, "-m", "orchwatch.cli", "flame", "--since", "1h", "--format", "json"]
    environment = {**os.environ, "ORCHWATCH_HOME": str(stack.home), "XDG_CONFIG_HOME": ""}
    told = subprocess.run(
        [*command, "--service", service],
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    paths: list[tuple[str, ...]] = []
    found = {}
    for frame in json.loads(told.stdout)["frames"]:
        above = () if frame["parent"] is None else paths[frame["parent"]]
        paths.append((*above, frame["name"]))
        found[paths[-1]] = frame
    return found


def drawn(bars: list[Json]) -> dict[tuple[str, ...], Json]:
    """Each bar by its path, of those that are drawn level by level."""
    found: dict[tuple[str, ...], Json] = {}
    for bar in bars:
        above: tuple[str, ...] = ()
        if bar["above"] is not None:
            (above,) = (
                path
                for path, one in found.items()
                if one["level"] == bar["level"] - 1
                and one["label"] == bar["above"]
                and one["start"] <= bar["start"] < one["start"] + one["value"]
            )
        found[*above, bar["label"]] = bar
    return found


def assert_same(bars: list[Json], told: dict[tuple[str, ...], Json], times: int = 1) -> None:
    found = drawn(bars)
    assert set(found) == {(ALL,), *((ALL, *path) for path in told)}
    for path, frame in told.items():
        bar = found[ALL, *path]
        assert bar["value"] / times == pytest.approx(frame["total_s"] * NS_PER_S, rel=1e-9), path
        assert bar["self"] / times == pytest.approx(frame["own_s"] * NS_PER_S, rel=1e-9, abs=1e-3)
        assert bar["level"] == frame["level"] + 1
    own_s = sum(frame["own_s"] for frame in told.values())
    assert found[ALL,]["value"] / times == pytest.approx(own_s * NS_PER_S, rel=1e-9)


def phases(stack: Stack) -> dict[str, float]:
    """The page *Agents*: how long each phase of turns was, in seconds."""
    found: Counter[str] = Counter()
    for frame in boards.shown(stack, "agents", "Where the time of turns", Span.last(HOUR_S)):
        for column, values in frame.columns.items():
            if column != "Time":
                found[column] += sum(value for value in values if value is not None)
    return dict(found)


def of_turns(told: dict[tuple[str, ...], Json]) -> dict[str, float]:
    """The same of the frames that turns called; what is neither a hook nor a model is a tool."""
    found: Counter[str] = Counter()
    for path, frame in told.items():
        if path[0].startswith(semconv.AGENT_TURN):
            last = path[-1].removesuffix(" [Explore]")
            hook = last.startswith("Stop")
            phase = "hooks" if hook else "model" if last == semconv.AGENT_TURN else "tools"
            found[phase] += frame["own_s"]
    return dict(found)


@pytest.mark.timeout(900)
def test_it_draws_what_flame_says_in_this_time_range_and_in_the_one_before(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    with running(tmp_path / "stack") as stack:
        with monitored(stack, projects):
            workload.write(stack, "flames", traces())
            workload.write(stack, "embers", [workload.ended(semconv.STATE_QUERY, 7)])

            def shown(title: str, span: Span) -> list[Json]:
                return boards.flame(stack, "flame", title, span, service="flames")

            eventually(lambda: len(shown(THIS, Span.last(HOUR_S))) > 1, TOLD_WITHIN_S)
            told = frames(stack, "flames")
            assert_same(shown(THIS, Span.last(HOUR_S)), told)
            # Of the hour before nothing is known.
            (nothing,) = shown(BEFORE, Span.last(HOUR_S))
            assert (nothing["label"], nothing["value"]) == (
                "nothing was counted in this time range",
                0,
            )
            rows = boards.rows(
                stack, "flame", "What took longest", Span.last(HOUR_S), service="flames"
            )
            assert [row["Own"] for row in rows] == sorted(
                (row["Own"] for row in rows), reverse=True
            )
            own_s = {row["Path"]: row["Own"] / NS_PER_S for row in rows}
            assert own_s[semconv.STATE_QUERY] == pytest.approx(0.5)
            assert sum(own_s.values()) == pytest.approx(sum(one["own_s"] for one in told.values()))
            assert phases(stack) == pytest.approx(of_turns(told))
            first_s = time.time()
        # In another process, which goes on from there.
        with monitored(stack, projects):
            workload.write(stack, "flames", traces() + traces())
            after = Span(first_s, first_s + HOUR_S)
            eventually(lambda: len(shown(THIS, after)) > 1, TOLD_WITHIN_S)
            assert_same(shown(THIS, after), told, times=2)
            assert_same(shown(BEFORE, after), told)
            assert_same(shown(THIS, Span.last(HOUR_S)), told, times=3)
            both = boards.flame(stack, "flame", THIS, Span.last(HOUR_S))
            assert drawn(both)[ALL, semconv.STATE_QUERY]["value"] == pytest.approx(8.5 * NS_PER_S)
            # And by the function that everybody knows, which extrapolates, so more or less.
            grown = "sum(increase(orchestration_call_self_time_seconds_total[1h]))"
            (one,) = get(f"{stack.prometheus_url}/api/v1/query", query=grown)["data"]["result"]
            assert float(one["value"][1]) > 0


def test_frames_are_nested_whatever_they_are_called() -> None:
    names = [
        "Bash",
        "bash",
        "BASH",
        "b",
        "a;b",
        "é",
        "e",
        "-",
        "_",
        "all",
        "1",
        "01",
        "😀",
        "z" * 9,
    ]
    spans = []
    for number in range(len(names)):
        # Each begins a trace in which it calls the one before it, and so on.
        for place in range(len(names)):
            name, start_ns = names[number - place], place * 10**7 * (number + 1)
            above = place - 1 if place else None
            outline = (str(number), place, above, name, None, start_ns, 10**10, 1)
            spans.append(Outline(*outline, *(None,) * 4))
    spans.sort(key=lambda span: span.start_ns)
    paths = CallPaths()
    paths.add("s", flame.of_spans(spans), 1)
    counted = paths.told()
    assert len(counted) == len(names) ** 2 + 1
    secrets.SystemRandom().shuffle(counted)
    total = [
        {"metric": {PATH: p.text, ORDER: p.order, "level": str(p.level), "label": p.name}, "ns": ns}
        for p, ns in ((p, p.total_ns) for p in counted)
    ]
    own = [{"metric": {ORDER: p.order}, "ns": p.told_ns} for p in reversed(counted)]
    answers = [
        boards.as_table(
            ref, [{**row, "value": [0, str(row["ns"])]} for row in rows], f"Value #{ref}"
        )
        for ref, rows in (("total", total), ("own", own))
    ]
    bars = boards.bars(answers, boards.panel("flame", THIS)["transformations"])
    found = {path[1:]: bar for path, bar in drawn(bars).items()}
    expected = {
        tuple(one.text.split(semconv.CALL_SEPARATOR)) if one.caller else (): one for one in counted
    }
    assert set(found) == set(expected)
    for path, one in expected.items():
        assert (found[path]["value"], found[path]["self"]) == (one.total_ns, one.told_ns)
        assert found[path]["level"] == one.level


def test_what_one_query_knows_and_the_other_does_not_draws_no_odd_bar() -> None:
    # Counters that arrive between the two, into a time range that was empty.
    def answer(ref: str, *rows: dict[str, str]) -> Json:
        found = [{"metric": row, "value": [0, "7"]} for row in rows]
        return boards.as_table(ref, found, f"Value #{ref}")

    top = {ORDER: "a", "level": "0", "label": ALL}
    one = {ORDER: "ab", "level": "1", "label": "turn"}
    none = {ORDER: "-", "level": "0", "label": "nothing"}
    transformations = boards.panel("flame", THIS)["transformations"]

    def labels(total: Json, own: Json) -> list[str]:
        return [bar["label"] for bar in boards.bars([total, own], transformations)]

    of_both = answer("own", {ORDER: "a"}, {ORDER: "ab"})
    assert labels(answer("total", one, top), of_both) == [ALL, "turn"]
    assert labels(answer("total", none), of_both) == ["nothing"]
    assert labels(answer("total", top, one), answer("own", {ORDER: "-"})) == [ALL, "turn"]
    assert labels(answer("total", top), of_both) == [ALL]
