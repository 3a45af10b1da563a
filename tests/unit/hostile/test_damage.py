"""Damaged data: every command answers, says what it left out, or fails in one clear line."""

from __future__ import annotations

import json
import math
import os
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.hostile.conftest import Place

    Span = Callable[..., dict[str, Any]]
    Line = Callable[..., str]

NOW_NS = 1_795_000_000_000_000_000
TRACE = "c" * 32
FAILED = {"code": 2}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("current", "--since", "all"), ("current", "--format", "json"), ("sessions",), ("agents",),
    ("traces", "--format", "json"), ("trace", "--failed"),
    ("trace", "--failed", "--format", "json"),
    ("trace", "--slowest", "state.query"), ("events", "--since", "all"),
    ("events", "--since", "all", "--format", "json"), ("kpi", "list", "--since", "all"),
    ("doctor",), ("audit",), ("claude", "import"), ("run", "true"),
)  # fmt: skip
SHAPES: tuple[Any, ...] = (
    None, 5, "x", [], {}, True, -1, 2**63, 10**40, 1.5, math.nan, math.inf, [[]], [None],
    {"stringValue": 5}, {"intValue": "x"}, {"intValue": None}, {"doubleValue": "NaN"},
    {"arrayValue": None}, {"arrayValue": {"values": None}}, {"arrayValue": [1]},
    {"arrayValue": {"values": [None, 5, {"intValue": "q"}]}}, {"kvlistValue": 5}, {"a": 1, "b": 2},
)  # fmt: skip


def answers(place: Place) -> dict[str, str]:
    """What each command printed, by its words."""
    return {" ".join(one.words): one.out + one.err for one in place.ask(*COMMANDS)}


def test_a_thousand_operations_in_each_other_are_a_tree(
    place: Place, span: Span, line: Line
) -> None:
    ids = [f"{number:016x}" for number in range(1, 1501)]
    pairs = zip(ids, ["", *ids], strict=False)
    place.write(
        "operations",
        (
            line(span(traceId=TRACE, spanId=own, parentSpanId=parent, status=FAILED))
            for own, parent in pairs
        ),
    )
    said = answers(place)
    assert "1500 spans" in said["trace --failed"]
    assert "… 1479 spans deeper" in said["trace --failed"]
    assert len(json.loads(said["trace --failed --format json"])) == 1500


def test_operations_that_call_each_other_in_a_ring_are_shown(
    place: Place, span: Span, line: Line
) -> None:
    def one(name: str, own: int, parent: int) -> dict[str, Any]:
        return span(
            name, traceId=TRACE, spanId=f"{own:016x}", parentSpanId=f"{parent:016x}", status=FAILED
        )

    ring = [one("a", 1, 2), one("b", 2, 3), one("c", 3, 1), one("below", 4, 2), one("self", 5, 5)]
    place.write("operations", [line(*ring, one("orphan", 6, 99))])
    shown = answers(place)["trace --failed"]
    assert all(f"{name} " in shown for name in ("a", "b", "c", "below", "self", "orphan"))
    assert "2 spans called by what it called itself" in shown


def test_malformed_members_cost_no_other_operation(place: Place, span: Span, line: Line) -> None:
    own = {"key": "orchestration.operation.name", "value": {"stringValue": "odd"}}
    around = (
        "{}",
        '{{"resourceSpans":{}}}',
        '{{"resourceSpans":[{}]}}',
        '{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}',
    )
    lines: list[str] = []
    for shape in SHAPES:
        pairs = ({"key": "k", "value": shape}, {"key": shape, "value": {"stringValue": "x"}}, shape)
        odd = [{"attributes": [own, pair]} for pair in pairs] + [{one: shape} for one in span()]
        lines += [line(span("odd", status=FAILED) | members) for members in odd]
        lines += [one.format(json.dumps(shape)) + "\n" for one in around]
    random.Random(1).shuffle(lines)
    place.write("operations", [*lines, *(line(span("whole")) for _ in range(7))])
    said = answers(place)
    assert re.search("^whole +7 ", said["current --since all"], re.MULTILINE)
    assert "cannot be read" in said["doctor"]


def test_times_that_cannot_be_are_left_out_and_named(place: Place, span: Span, line: Line) -> None:
    starts = (-(10**18), -1, 0, 1, 2**63 - 1, 2**63, 2**64, 10**30, NOW_NS + 2**60)
    lengths = (0, -(10**10), 1, 10**18, 2**62, 2**63, 10**25)
    lines = [
        line(span("odd", startTimeUnixNano=str(start), endTimeUnixNano=str(start + length)))
        for start in starts
        for length in lengths
    ]
    place.write("operations", [*lines, line(span("whole"))])
    said = answers(place)
    assert "whole" in said["current --since all"]
    assert "dated in the future" in said["current --since all"]
    assert "dated in the future, which every command leaves out" in said["doctor"]


def test_bytes_that_are_no_text_cost_their_line_alone(place: Place, span: Span, line: Line) -> None:
    whole = line(span("whole")).encode()
    place.write(
        "operations",
        [
            b"\xff\xfe\x80" + whole, b"\xef\xbb\xbf" + whole, b"\0" * 1000 + b"\n", b"\r\n",
            whole.replace(b"whole", b"wh\xffle"), b'{}\n[]\n"x"\n5\nnull\n', b"[" * 100_000 + b"\n",
            b'{"a":' * 50_000 + b"\n", b"x" * 70_000_000 + b"\n", whole, whole[:50],
        ],
    )  # fmt: skip
    said = answers(place)
    assert "whole" in said["current --since all"]
    assert "cannot be read" in said["doctor"]


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_are_counted_and_cost_no_more(
    seed: int, place: Place, span: Span, line: Line
) -> None:
    random_ = random.Random(seed)

    def flipped() -> Iterator[bytes]:
        for number in range(300):
            found = bytearray(line(span(f"op.{number % 5}", status=FAILED)).encode()[:-1])
            for _ in range(random_.randint(1, 4)):
                found[random_.randrange(len(found))] = random_.choice(
                    [byte for byte in range(256) if byte != ord("\n")]
                )
            yield bytes(found) + b"\n"

    for family in ("operations", "undelivered", "history", "events", "metrics", "hooks"):
        place.write(family, list(flipped()))
    answers(place)


def test_a_hundred_thousand_names_are_a_page(place: Place, span: Span, line: Line) -> None:
    lines = []
    for number in range(100_000):
        who = {"session.id": f"s{number}", "gen_ai.agent.name": f"a{number}"}
        lines.append(line(span(f"op.{number}", who, status=FAILED)))
    place.write("operations", lines)
    current, sessions, agents, traces, events, trace = place.ask(
        ["current"], ["sessions"], ["agents"], ["traces"], ["events"], ["trace", "--failed"]
    )
    assert "99900 more without a target" in current.out
    assert all("20 of 10000" in one.out for one in (sessions, agents, traces))
    assert "99000 earlier ones are left out" in events.err
    for answer in (current, sessions, agents, traces, events, trace):
        assert answer.out.count("\n") < 1200, answer.words


def test_ten_thousand_different_calls_of_one_are_a_page(
    place: Place, span: Span, line: Line
) -> None:
    root = span("root", traceId=TRACE, spanId=f"{1:016x}", status=FAILED)
    calls = [
        span(f"c.{number}", traceId=TRACE, parentSpanId=root["spanId"]) for number in range(10_000)
    ]
    place.write("operations", [line(root, *calls)])
    said = answers(place)
    assert "… 9900 other names" in said["trace --failed"]
    assert said["trace --failed"].count("\n") < 120


def test_damaged_files_of_the_store_are_named_and_the_rest_answers(
    place: Place, span: Span, line: Line
) -> None:
    store = place.home / "store"
    store.mkdir(parents=True)
    contents = (b"", b"PAR1", b"PAR1" + os.urandom(500) + b"PAR1", os.urandom(500),
                b"PAR1" + bytes(100) + (50).to_bytes(4, "little") + b"PAR1")  # fmt: skip
    for number, content in enumerate(contents):
        for version in ("", ".v2"):
            name = f"operations-00000{number}.{os.urandom(16).hex()}.100.0{version}.parquet"
            (store / name).write_bytes(content)
    place.write("operations", [line(span("whole", status=FAILED))])
    said = answers(place)
    assert "whole" in said["current --since all"]
    assert "damaged and left out" in said["current --since all"]
    assert "damaged and left out" in said["doctor"]


@pytest.mark.parametrize("kind", ["a file", "a link to nothing", "relative", "unwritable", "odd"])
def test_a_home_that_is_none_is_said_in_one_line(kind: str, place: Place) -> None:
    variables = {}
    if kind == "a file":
        place.home.write_text("")
    elif kind == "a link to nothing":
        place.home.symlink_to("/nowhere/at/all")
    elif kind == "relative":
        variables["ORCHWATCH_HOME"] = "some/where"
    elif kind == "unwritable":
        variables["ORCHWATCH_HOME"] = "/proc/1/orchwatch"
    else:
        variables["ORCHWATCH_HOME"] = str(place.root / 'it\'s 100% "odd" $HOME; *é日 \x9b')
    for answer in place.ask(
        *COMMANDS, ("status-line",), ("kpi", "set", "test.coverage", "1"), **variables
    ):
        assert answer.code in (0, 1, 3), answer
        assert answer.err.count("\n") <= 1 or answer.words[0] == "doctor", answer


def _with_each(document: Any, shape: Any) -> Iterator[Any]:
    """The document with each of its members and elements in turn replaced."""
    yield shape
    if isinstance(document, dict):
        for key, member in document.items():
            for changed in _with_each(member, shape):
                yield {**document, key: changed}
    elif isinstance(document, list):
        for number, element in enumerate(document):
            for changed in _with_each(element, shape):
                yield [*document[:number], changed, *document[number + 1 :]]


def test_malformed_figures_and_alerts_cost_no_other_line(place: Place) -> None:
    pair = {"key": "k", "value": {"stringValue": "v"}}
    point = {"asDouble": 1.5, "timeUnixNano": str(NOW_NS), "attributes": [pair]}
    metric = {"name": "own.queue", "unit": "{task}", "gauge": {"dataPoints": [point]}}
    figures = {
        "resourceMetrics": [
            {"resource": {"attributes": [pair]}, "scopeMetrics": [{"metrics": [metric]}]}
        ]
    }
    told = [
        {"key": f"orchestration.alert.{key}", "value": {"stringValue": value}}
        for key, value in {
            "name": "WholeAlert", "state": "firing", "severity": "warning", "start": str(NOW_NS),
            "fingerprint": "f", "evaluator": "monitor", "value": "1.5",
        }.items()
    ]  # fmt: skip
    record = {
        "eventName": "performance_alert",
        "timeUnixNano": str(NOW_NS),
        "body": {"stringValue": "b"},
        "attributes": told,
    }
    alerts = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [record]}]}]}
    for family, document in (("metrics", figures), ("events", alerts)):
        changed = (one for shape in SHAPES for one in _with_each(document, shape))
        place.write(family, [json.dumps(one) + "\n" for one in (*changed, document)])
    said = answers(place)
    assert "own.queue" in said["current --since all"]
    assert "WholeAlert" in said["events --since all"]
