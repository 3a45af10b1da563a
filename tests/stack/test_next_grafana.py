"""The pages in the next Grafana, as far as its packages can tell: types, and transformations.

It runs no server: what the panels are given is made up, column by column, of what they ask for.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.stack import boards
from tests.stack.boards import NEXT, REPO

from orchwatch import semconv
from orchwatch.mixin import dashboards
from orchwatch.mixin.dashboards import queries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack.boards import Json

PAGES = [REPO / dashboards.DIRECTORY / f"{name}.json" for name in dashboards.PAGES]


def test_its_types_find_nothing_wrong_with_the_pages() -> None:
    assert boards.faults(PAGES, NEXT) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("templating", "list", 0, "hide"), 7),
        (("panels", 0, "options", "colorMode"), "loud"),
        (("panels", 0, "options", "nobodysOption"), 1),
        (("panels", 0, "gridPos", "w"), "wide"),
    ],
)
def test_its_types_find_what_is_wrong(
    tmp_path: Path, where: tuple[str | int, ...], value: object
) -> None:
    changed = json.loads(PAGES[0].read_text())
    inner = changed
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (tmp_path / "page.json").write_text(json.dumps(changed))
    assert boards.faults([tmp_path / "page.json"], NEXT)


def transforming() -> Iterator[tuple[str, str]]:
    """Page and title of each panel whose answers are transformed."""
    for name in dashboards.PAGES:
        for panel in boards.panels(name):
            if panel.get("transformations"):
                yield name, panel["title"]


def answers(panel: Json) -> list[Json]:
    """Two rows or series for each query, with the columns that its transformations name."""
    return [frame for target in panel["targets"] for frame in _answer(target)]


def _answer(target: Json) -> list[Json]:
    if target["datasource"]["type"] == "tempo":
        return [_found(target)]
    grouped = ", ".join(re.findall(r"by \(([\w, ]+)\)", target["expr"]))
    labels = dict.fromkeys(grouped.split(", "), "a") if grouped else {}
    named = re.findall(r', "(\w+)", "\$1", "', target["expr"])
    labels |= dict.fromkeys(named, "a")
    labels |= {"orchestration_operation_name": "a", "target": "b", "alertname": "c"}
    ref = target["refId"]
    if target.get("format") == "table":
        apart = ("target", semconv.CALL_ORDER.replace(".", "_"))
        found = [
            {"metric": labels | dict.fromkeys(apart, str(i)), "value": [1.0, str(i)]}
            for i in (1, 2)
        ]
        return [boards.as_table(ref, found, f"Value #{ref}")]
    return [boards.as_series(ref, {"metric": labels, "values": [[1, "1"], [2, "3"]]}, target)]


def _found(target: Json) -> Json:
    grouped = re.findall(r"\| by\(([^)]+)\)", target["query"])
    selected = re.findall(r"span\.([\w.]+)", target["query"].rpartition("select(")[2])
    texts = dict.fromkeys((*(f"by({one})" for one in grouped), *selected), "v")
    texts |= {f"by({queries.NAME})": semconv.HOOK_PROCESS}
    figures = {"count()": "3", "sum(duration)": "1.5s", "max(duration)": "1s"}
    traces = [
        {
            "traceID": f"abc{number}",
            "rootServiceName": "shop",
            "rootTraceName": "turn",
            "startTimeUnixNano": "1700000000000000000",
            "durationMs": 5,
            "spanSets": [
                {
                    "spans": [
                        {
                            "spanID": f"def{number}",
                            "startTimeUnixNano": "1700000000000000000",
                            "durationNanos": "1000000",
                            "attributes": _attributes({**texts, "number": str(number)}),
                        }
                    ],
                    "attributes": _attributes(figures),
                }
            ],
        }
        for number in (1, 2)
    ]
    columns = boards.of_spans if target.get("tableType") == "spans" else boards.of_traces
    fields = [{"config": {}, **field} for field in columns(traces)]
    return {"refId": target["refId"], "fields": fields}


def _attributes(found: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in found.items()]


@pytest.mark.parametrize(("name", "title"), list(transforming()))
def test_its_transformations_make_the_same_of_answers(name: str, title: str) -> None:
    (panel,) = (one for one in boards.panels(name) if one["title"] == title)
    frames, transformations = answers(panel), panel["transformations"]
    for given in (frames, []):
        now = boards.evaluated(given, transformations)
        assert boards.evaluated(given, transformations, pins=NEXT) == now
    assert boards.evaluated(frames, transformations)
