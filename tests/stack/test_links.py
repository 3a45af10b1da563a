"""Every link of every panel, followed from a row as Grafana fills it in, ends at data."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.stack import boards, workload
from tests.stack.boards import REPO, Json, Span
from tests.stack.conftest import counted, eventually, stored

from orchwatch import semconv
from orchwatch.mixin import dashboards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

HOUR_S = 3600
# Shown by its beginning, and handed on whole.
SESSION = "7e57ab1e-1111-4000-8000-00000000beef"
SERVICE = "true-links"
# Of each page, what a person comes for: something of it must be there.
SHOWN = {
    "overview": "Every operation",
    "operations": "p95 against target",
    "agents": "Who was busy",
    "hooks": "Each hook",
    "flame": "This time range",
    "session": "Turns and orchestrations",
    "resources": "CPU",
    "kpis": "Tasks that succeed over time",
    "pipeline": "Who answers",
}


@pytest.fixture(scope="module", autouse=True)
def _workload(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    more: dict[str, Any] = {"trace": trace, "session": SESSION}
    spans = [
        workload.ended(semconv.AGENT_TURN, 20, **more),
        workload.ended(semconv.AGENT_RUN, 10, agent="Explore", agent_id="a1", **more),
        workload.ended(semconv.HOOK_PROCESS, 1.5, hook="lint.sh", event="Stop", **more),
        workload.ended(semconv.STATE_PERSIST, 2.5, agent="Explore", error="Full", **more),
        # Of no session and no agent.
        *(workload.ended(semconv.STATE_PERSIST, 3.5, error="Full") for _ in range(9)),
    ]
    workload.write(stack, SERVICE, spans)
    assert eventually(lambda: counted(stack, service=SERVICE) == len(spans))
    query = f'{{ resource.service.name = "{SERVICE}" }}'
    assert eventually(lambda: boards.number_of_spans(stack, query, Span.last(HOUR_S)) == len(spans))


def linking() -> Iterator[tuple[str, str, str, str]]:
    """Page, panel, column and address of each link of a table."""
    for page in dashboards.PAGES:
        for panel in boards.panels(page):
            for override in panel["fieldConfig"]["overrides"]:
                for changed in override["properties"]:
                    if changed["id"] == "links":
                        column = override["matcher"]["options"]
                        for link in changed["value"]:
                            yield page, panel["title"], column, link["url"]


def displayed(panel: Json, column: str, value: object) -> str:
    """As a link has the value of another column: what is shown of it."""
    config = panel["fieldConfig"]
    mappings, unit = config["defaults"].get("mappings", []), config["defaults"].get("unit")
    for override in config["overrides"]:
        if override["matcher"] == {"id": "byName", "options": column}:
            properties = {one["id"]: one.get("value") for one in override["properties"]}
            mappings, unit = properties.get("mappings", mappings), properties.get("unit", unit)
    assert unit == "string" or not re.fullmatch(r"\d+(e\d+)?", str(value)), "shown as a number"
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "value" and str(value) in options:
            return str(options[str(value)]["text"])
        if mapping["type"] == "regex" and re.search(options["pattern"].strip("/"), str(value)):
            shown = options["result"]["text"].replace("$1", r"\1")
            return re.sub(options["pattern"].strip("/"), shown, str(value))
    return str(value)


def filled(
    panel: Json, url: str, column: str, row: Json, *, values: dict[str, str], span: Span
) -> str:
    """As Grafana fills in what stands in a link."""
    start, end = (str(round(moment * 1000)) for moment in span)

    def value(match: re.Match[str]) -> str:
        name, _, form = match[1].partition(":")
        if form == "queryparam":
            return f"var-{name}={quote(values[name], safe='')}"
        if name.startswith("__data.fields."):
            other = name.removeprefix("__data.fields.")
            return displayed(panel, other, row[other])
        known = {"__value.raw": str(row[column]), "__from": start, "__to": end}
        known["__url_time_range"] = f"from={start}&to={end}"
        return known.get(name) or values[name]

    return re.sub(r"\$\{([^}]+)\}", value, url)


def ends_at_data(stack: Stack, address: str, span: Span) -> bool:
    """Whether there is something where an address leads."""
    parts = urlsplit(address)
    asked = {key: found[0] for key, found in parse_qs(parts.query).items()}
    if parts.path == "/explore":
        pane = json.loads(asked["panes"])["a"]
        trace = pane["queries"][0]["query"].zfill(32)
        return pane["panelsState"]["trace"]["spanId"] in {s.span_id for s in stored(stack, trace)}
    if parts.fragment:
        return (
            f'id="{parts.fragment.lower()}"'
            in (REPO / "prometheus/assets/runbook.html").read_text().lower()
        )
    page = parts.path.removeprefix("/d/orchwatch-")
    chosen = {key.removeprefix("var-"): one for key, one in asked.items() if key[:4] == "var-"}
    chosen = {key: one.replace("$__all", ".*") for key, one in chosen.items()}
    title = "The trace" if len(chosen.get("trace", "")) >= 30 else SHOWN[page]
    if title == "The trace":
        return bool(stored(stack, chosen["trace"].zfill(32)))
    return any(frame.length for frame in boards.shown(stack, page, title, span, **chosen))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("page", "title"), sorted({(page, title) for page, title, _, _ in linking()})
)
def test_a_link_of_each_row_ends_at_data(stack: Stack, page: str, title: str) -> None:
    span = Span.last(HOUR_S)
    chosen = {"operation": semconv.STATE_PERSIST}
    # Rules are evaluated every 15 s, and alerts hold.
    rows = eventually(lambda: boards.rows(stack, page, title, Span.last(HOUR_S), **chosen), 240)
    assert rows, f"{page} / {title} shows nothing"
    values = boards.variables(stack, page, span, chosen)
    for other, heading, column, url in linking():
        if (other, heading) == (page, title):
            for row in (rows[0], rows[-1]):
                address = filled(
                    boards.panel(page, title), url, column, row, values=values, span=span
                )
                assert "$" not in address.replace("$__all", "")
                assert ends_at_data(stack, address, Span.last(HOUR_S)), (column, address)


def test_a_rows_link_keeps_its_session_and_its_span(stack: Stack) -> None:
    span = Span.last(HOUR_S)
    chosen = {"operation": semconv.STATE_PERSIST, "service": SERVICE}
    rows = boards.rows(stack, "operations", "Slowest by session", span, **chosen)
    (row,) = (one for one in rows if one["Session"] == SESSION)
    values = boards.variables(stack, "operations", span, chosen)
    links = [
        filled(boards.panel(page, title), url, column, row, values=values, span=span)
        for page, title, column, url in linking()
        if page == "operations" and title.startswith("Slowest") and column == "Trace"
    ]
    opened, shown = (parse_qs(urlsplit(one).query) for one in links)
    assert (opened["var-session"], opened["var-span"]) == ([SESSION], [row["Span"]])
    assert opened["var-trace"] == [row["Trace"]]
    assert f'"spanId":"{row["Span"]}"' in shown["panes"][0]
