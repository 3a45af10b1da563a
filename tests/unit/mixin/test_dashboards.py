from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from orchwatch import semconv
from orchwatch.analysis import project
from orchwatch.mixin import dashboards
from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.dashboards import grading, units, widths
from orchwatch.mixin.lib import alerting
from orchwatch.mixin.lib.promql import DURATION
from orchwatch.targets import config, target_table

REPO = Path(__file__).parents[3]
TABLE = target_table.load(config.Config())
COLUMNS = 24
# Of a page; more than these nobody takes in at a glance.
MAX_PANELS = 13
DATA_SOURCES = {"prometheus", "tempo"}
# What these show is given a unit column by column, or has none.
WITHOUT_UNIT = {"traces", "nodeGraph", "state-timeline"}
COLORS = {grading.OK, grading.WARN, grading.MISS, grading.UNKNOWN, grading.NEUTRAL}

Json = dict[str, Any]


def page(name: str, table: target_table.Targets = TABLE) -> Json:
    found: Json = json.loads(dashboards.text(name, table))
    return found


@pytest.fixture(params=dashboards.PAGES, scope="module")
def model(request: pytest.FixtureRequest) -> Json:
    return page(request.param)


def panels(model: Json) -> list[Json]:
    """All panels, those of folded sections too."""
    shown = [one for one in model["panels"] if one["type"] != "row"]
    return shown + [one for section in sections(model) for one in section["panels"]]


def sections(model: Json) -> list[Json]:
    return [one for one in model["panels"] if one["type"] == "row"]


def panel(model: Json, title: str) -> Json:
    (found,) = [one for one in panels(model) if heading(one) == title]
    return dict(found)


def heading(panel: Json) -> str:
    """Its title without what the page computes for it."""
    return str(panel["title"]).partition("$")[0]


def overriding(panel: Json, matched: str) -> Json:
    return {
        changed["id"]: changed.get("value")
        for one in panel["fieldConfig"]["overrides"]
        if one["matcher"]["options"] == matched
        for changed in one["properties"]
    }


def steps(thresholds: Json) -> list[tuple[float | None, str]]:
    return [(one["value"], one["color"]) for one in thresholds["steps"]]


def test_a_page_is_provisioned_under_its_uid_and_read_only(model: Json) -> None:
    assert model["uid"].startswith("orchwatch-")
    assert model["uid"].removeprefix("orchwatch-") in dashboards.PAGES
    assert model["editable"] is False
    assert model["schemaVersion"] == 42
    assert set(model["tags"]) == {"orchwatch", "generated"}


def assert_filled(placed: list[Json], top: int) -> None:
    taken = [
        (x, y)
        for place in (one["gridPos"] for one in placed)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    bottom = max(y for _, y in taken) + 1
    assert sorted(taken) == [(x, y) for x in range(COLUMNS) for y in range(top, bottom)]


def test_panels_fill_the_grid_without_overlaps_or_gaps(model: Json) -> None:
    assert_filled(model["panels"], 0)
    for section in sections(model):
        if section["panels"]:
            assert_filled(section["panels"], section["gridPos"]["y"] + 1)


def test_a_page_is_taken_in_at_a_glance(model: Json) -> None:
    assert len(panels(model)) <= MAX_PANELS
    ids = [one["id"] for one in [*panels(model), *sections(model)]]
    assert len(set(ids)) == len(ids)


def test_what_stands_below_the_first_figures_can_be_folded_away(model: Json) -> None:
    assert sections(model)
    for section in sections(model):
        assert section["title"]
        # A folded section holds its panels; those of an open one follow it.
        assert section["collapsed"] == bool(section["panels"])
    assert model["panels"][0]["type"] != "row"


def test_every_panel_says_what_it_shows_and_why_it_may_be_empty(model: Json) -> None:
    for one in panels(model):
        assert one["title"]
        assert one["description"].endswith("."), one["title"]
        assert one["fieldConfig"]["defaults"]["noValue"], one["title"]


def test_every_panel_has_a_unit_and_at_most_three_decimals(model: Json) -> None:
    for one in panels(model):
        defaults = one["fieldConfig"]["defaults"]
        assert defaults["unit"], one["title"]
        # Without a number of them Grafana shows three digits.
        assert defaults.get("decimals", 0) <= 3, one["title"]
        assert one["type"] in WITHOUT_UNIT or defaults["unit"] != "none" or "Status" in one["title"]


def test_every_query_goes_to_a_provisioned_data_source(model: Json) -> None:
    for one in panels(model):
        assert one["targets"], one["title"]
        for source in (one["datasource"], *(target["datasource"] for target in one["targets"])):
            assert source["type"] in DATA_SOURCES
            assert source["uid"] == own_of(source["type"])
        refs = [target["refId"] for target in one["targets"]]
        assert len(set(refs)) == len(refs), one["title"]


def test_a_page_asks_any_prometheus_and_tempo_and_ours_unless_another_is_chosen(
    model: Json,
) -> None:
    provisioned = (REPO / "grafana/provisioning/datasources/orchwatch.yaml").read_text()
    chosen = model["templating"]["list"][: len(DATA_SOURCES)]
    assert {one["query"] for one in chosen} == DATA_SOURCES
    for one in chosen:
        assert one["type"] == "datasource"
        assert one["name"] == f"{one['query']}_datasource"
        ours = one["current"]
        assert f"- name: {ours['text']}\n    uid: {ours['value']}\n" in provisioned
    # Nothing else names one: not a variable, an annotation or an address.
    uids = re.findall(r'"uid": "([^"]+)"', json.dumps(model))
    assert set(uids) <= {model["uid"], *map(own_of, DATA_SOURCES)}
    for url in links(panels(model)):
        if url.startswith("/explore"):
            pane = json.loads(parse_qs(url.partition("?")[2])["panes"][0])["a"]
            assert pane["datasource"] == pane["queries"][0]["datasource"]["uid"] == own_of("tempo")
        elif url.startswith("/d/"):
            assert all(f"&${{{kind}_datasource:queryparam}}" in url for kind in DATA_SOURCES)


def own_of(kind: str) -> str:
    """The data source of a kind, as a page chooses it."""
    return f"${{{kind}_datasource}}"


def test_links_between_pages_keep_time_and_variables(model: Json) -> None:
    (link,) = model["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == ["orchwatch"]
    assert link["keepTime"] is True
    assert link["includeVars"] is True
    assert "placement" not in link  # shown on the page, not in a menu


def test_links_from_values_lead_to_a_page_and_keep_the_time(model: Json) -> None:
    # Of a row that knows its own page, too: `stack/test_links.py` follows each.
    known = {f"/d/orchwatch-{name}" for name in dashboards.PAGES} | {"/d/${__data.fields.page}"}
    runbook = alerting.load(config.Config()).runbook
    for url in links(panels(model)):
        if url.startswith(f"{runbook}#"):
            continue
        path, _, query = url.partition("?")
        if path == "/explore":
            pane = json.loads(parse_qs(query)["panes"][0])["a"]
            assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
            assert pane["queries"][0]["query"] == "${__value.raw}"
            assert pane["panelsState"] == {"trace": {"spanId": "${__data.fields.Span}"}}
            continue
        assert path in known
        assert query.startswith("${__url_time_range}")


def links(found: Any) -> list[str]:
    if isinstance(found, list):
        return [url for one in found for url in links(one)]
    if isinstance(found, dict):
        own = [found["url"]] if "targetBlank" in found else []
        return own + [url for one in found.values() for url in links(one)]
    return []


def computed(model: Json) -> list[Json]:
    """The variables whose values are the page's own."""
    own = ("slow", "cut", "shown", "ranked", "opened")
    return [one for one in model["templating"]["list"] if one["name"] in own]


def test_every_page_hands_every_variable_on_but_what_it_computes(model: Json) -> None:
    own = computed(model)
    names = [one["name"] for one in model["templating"]["list"] if one not in own]
    sources = ["prometheus_datasource", "tempo_datasource"]
    assert names == [*sources, "service", "operation", "agent", "session", "trace", "span"]
    assert all(one["skipUrlSync"] for one in own)
    assert not any(one["skipUrlSync"] for one in model["templating"]["list"] if one not in own)


def test_a_variable_that_a_query_uses_is_shown_or_computed(model: Json) -> None:
    variables = {one["name"] for one in model["templating"]["list"]}
    own = {one["name"] for one in computed(model)}
    hidden = {one["name"] for one in model["templating"]["list"] if one.get("hide") == 2}
    text = json.dumps([[one["title"], one["targets"]] for one in panels(model)])
    text += json.dumps([one["title"] for one in sections(model)])
    text += json.dumps([one["query"] for one in computed(model)])
    used = {name for name in variables if re.search(rf"\$\{{?{name}\b", text)}
    sources = {f"{kind}_datasource" for kind in DATA_SOURCES}
    assert used - sources == (variables - hidden | own) - sources


def test_a_search_is_of_the_newest_traces_which_is_one_answer(model: Json) -> None:
    for one in panels(model):
        for target in one["targets"]:
            query = target.get("query", "")
            assert query.endswith(" with (most_recent=true)") == query.startswith("{"), query


def test_sessions_and_agents_are_asked_of_tempo_only(model: Json) -> None:
    for one in panels(model):
        for target in one["targets"]:
            expr = target.get("expr", "")
            assert "session_id" not in expr
            assert "gen_ai_agent" not in expr


def test_a_search_says_what_it_returns(model: Json) -> None:
    # Where it does not, Grafana 12.3's data source fails.
    for one in panels(model):
        for target in one["targets"]:
            if target["datasource"]["type"] == "tempo":
                assert target["tableType"] in {"spans", "traces"}, one["title"]


def test_no_column_is_hidden_at_the_right_edge(model: Json) -> None:
    # Unasked, each has 150 pixels, and what does not fit is hidden without a sign.
    for one in panels(model):
        if one["type"] == "table":
            assert one["fieldConfig"]["defaults"]["custom"]["minWidth"] <= 60, one["title"]


def test_states_have_the_words_and_colours_of_their_mappings(model: Json) -> None:
    # Coloured by thresholds, Grafana shows these instead of the words.
    for one in panels(model):
        if one["type"] == "state-timeline":
            defaults = one["fieldConfig"]["defaults"]
            assert defaults["color"]["mode"] == "fixed"
            (mapping,) = defaults["mappings"]
            assert mapping["options"]


def test_a_session_is_shown_by_its_name_or_the_beginning_of_its_id_and_chosen_by_all_of_it() -> (
    None
):
    session = "258c7280-ae70-4798-800f-63464d01a85d"
    name = "a · b · 2026-11-30 19:52:07Z"
    (variable,) = (v for v in page("session")["templating"]["list"] if v["name"] == "session")
    pattern = variable["regex"].strip("/").replace("(?<", "(?P<")
    for label, value, text in (
        (session, session, "258c7280"),
        ("s-1", "s-1", "s-1"),
        (session[:-1], session[:-1], session[:-1]),
        (f"{name}{semconv.NAMED}{session}", session, name),
        (f"{name}{semconv.NAMED}s 1", "s 1", name),
    ):
        found = re.search(pattern, label)
        assert found is not None
        assert (found["value"], found["text"]) == (value, text)
    one = panel(page("agents"), "Longest pieces of work")
    shown = {
        mapping["options"]["pattern"].strip("/"): mapping["options"]["result"]["text"]
        for mapping in overriding(one, "Session")["mappings"]
        if mapping["type"] == "regex"
    }
    for value, text in (
        (session, "258c7280"),
        (name, "a · b · 11-30 19:52"),
        ("2026-11-30 19:52:07Z", "11-30 19:52"),
        ("s-1", "s-1"),
    ):
        for regex, result in shown.items():
            if re.search(regex, value):
                value = re.sub(regex, result.replace("$", "\\"), value)  # noqa: PLW2901 - as shown
        assert value == text


def test_what_links_take_of_another_column_is_hidden_and_as_it_is(model: Json) -> None:
    # Of another column a link has what is shown of it.
    for one in panels(model):
        for name in re.findall(r"\$\{__data\.fields\.(\w+)\}", json.dumps(one)):
            found = overriding(one, name)
            assert found["custom.hidden"], name
            assert (found["unit"], found["mappings"]) == ("string", []), name


def test_the_operations_to_choose_from_have_run_in_the_time_range(model: Json) -> None:
    (variable,) = (v for v in model["templating"]["list"] if v["name"] == "operation")
    assert variable["query"]["query"].startswith(f"label_values({DURATION}_count, ")
    # Chosen anew with the time range, also where it is only handed on.
    assert variable["refresh"] == 2


def test_alerts_changed_targets_and_new_versions_stand_on_every_page(model: Json) -> None:
    found = [one["name"] for one in model["annotations"]["list"]]
    assert found == ["Alerts", "Changed targets", "New versions"]


def test_grafana_offers_no_map_of_services_whose_metrics_tempo_does_not_make() -> None:
    sources = yaml.safe_load((REPO / "grafana/provisioning/datasources/orchwatch.yaml").read_text())
    tempo = yaml.safe_load((REPO / "tempo/tempo.yaml").read_text())
    (data,) = (one["jsonData"] for one in sources["datasources"] if one["type"] == "tempo")
    assert ("serviceMap" in data) == ("metrics_generator" in tempo)


def test_what_is_counted_stands_in_one_bar_or_cell(model: Json) -> None:
    for one in panels(model):
        custom = one["fieldConfig"]["defaults"].get("custom", {})
        if one["type"] == "heatmap" or custom.get("drawStyle") == "bars":
            for target in one["targets"]:
                assert "$__rate_interval" not in target["expr"], one["title"]
                assert target["interval"], one["title"]


def test_without_a_choice_also_what_names_no_agent_and_no_session_is_searched(model: Json) -> None:
    # A pattern that matches everything does not match what is not there.
    for one in panels(model):
        for target in one["targets"]:
            query = target.get("query", "")
            if "$agent" in query:
                chosen = '.agent.name =~ "$agent" || "$agent" = ".*" || "$agent" = "nil"'
                assert chosen in query, one["title"]


def test_a_table_of_what_was_found_is_empty_where_nothing_was(model: Json) -> None:
    # A table that has columns does not say why it has no rows; these columns come with rows.
    for one in panels(model):
        if one["type"] == "table" and one["targets"][0].get("tableType") == "spans":
            grouped = [t for t in one["transformations"] if t["id"] == "groupBy"]
            fields = grouped[-1]["options"]["fields"]
            keys = [name for name, how in fields.items() if how["operation"] == "groupby"]
            assert keys, one["title"]
            assert not {"traceIdHidden", "Start time", "Duration"} & set(keys), one["title"]


def test_the_graph_of_calls_has_the_columns_that_grafana_takes_for_lines() -> None:
    one = panel(page("agents"), "Who called whom")
    made = [t["options"].get("alias") for t in one["transformations"]]
    assert {"source", "target", "mainstat", "id"} <= set(made)
    # Of several searches of a panel Grafana 12.3's data source runs the first only.
    assert len(one["targets"]) == 1


def test_only_the_colours_of_a_status_are_used_for_limits(model: Json) -> None:
    for one in panels(model):
        defaults = one["fieldConfig"]["defaults"]
        found = steps(defaults["thresholds"]) if "thresholds" in defaults else []
        assert {color for _, color in found} <= COLORS, one["title"]


def test_a_number_that_was_not_measured_is_grey(model: Json) -> None:
    for one in panels(model):
        if one["type"] != "stat":
            continue
        special = [m for m in one["fieldConfig"]["defaults"]["mappings"] if m["type"] == "special"]
        assert [m["options"]["match"] for m in special] == ["null+nan"], one["title"]
        assert special[0]["options"]["result"]["color"] == grading.UNKNOWN


def test_agents_at_work_are_the_same_on_both_pages() -> None:
    first, second = (panel(page(name), "At work, all") for name in ("overview", "agents"))
    for place in ("id", "gridPos"):
        del first[place], second[place]
    assert first == second


def test_a_forecast_is_made_only_of_what_is_measured_and_has_a_past_and_never_of_the_cpu() -> None:
    forecasts = [
        target["expr"]
        for one in panels(page("resources"))
        for target in one["targets"]
        if "predict_linear" in target["expr"]
    ]
    # Where each leads to, and what had been forecast for now.
    assert len(forecasts) == 6
    assert sum(" offset 1h" in expr or " offset 1d" in expr for expr in forecasts) == 3
    for expr in forecasts:
        (series, past) = re.findall(r"predict_linear\((.+)\[(\w+)\]", expr)[0]
        # An hour after a stop it would go on from what was measured before.
        assert f") and {series} and count_over_time({series}[{past}:" in expr
        assert "cpu" not in expr


@pytest.mark.parametrize(
    ("name", "title", "column", "needed_px"),
    [
        # As drawn with Grafana 12.3's own table.
        ("session", "Tokens by model", "Model", 211),  # claude-sonnet-4-5-20250929
        ("session", "What failed", "Operation", 142),  # dependency.resolve
        ("agents", "Longest pieces of work", "Agent", 135),  # claude-code-guide
        ("agents", "Longest pieces of work", "Outcome", 65),
    ],
)
def test_a_column_is_as_wide_as_what_stands_in_it(
    name: str, title: str, column: str, needed_px: int
) -> None:
    assert overriding(panel(page(name), title), column)["custom.width"] > needed_px


# The width of a page on the narrowest screen that is drawn for, less what is around panels and
# beside their titles, as measured with Grafana 12.3.
NARROW_PX = 992
GAP_PX = 8
BESIDE_TITLE_PX = 79


def width_px(panel: Json) -> float:
    width: int = panel["gridPos"]["w"]
    return (NARROW_PX + GAP_PX) / COLUMNS * width - GAP_PX


def test_no_title_is_cut_off_on_a_narrow_screen(model: Json) -> None:
    for one in panels(model):
        # What the page computes for it is short, or there is too much to show.
        needed_px = widths.of_text(heading(one)) + BESIDE_TITLE_PX
        assert needed_px <= width_px(one), one["title"]


def test_the_widths_of_texts_are_not_less_than_grafana_draws() -> None:
    # Of Inter Medium, as its own table of widths has it.
    drawn_px = {"Dependency resolution": 155.5, "Tempo: spans a second": 159.8, "Outcome": 61.1}
    for text, needed_px in drawn_px.items():
        assert needed_px - 1 <= widths.of_text(text) <= needed_px * 1.05


def test_names_of_alerts_operations_and_levels_fit_their_columns_on_a_narrow_screen() -> None:
    overview = page("overview")
    alerts = panel(overview, "Firing alerts")
    names = {one.name for one in catalog.every(TABLE, alerting.load(config.Config()))}
    fixed = [overriding(alerts, one)["custom.width"] for one in ("Severity", "Alert", "Since")]
    assert fixed[1] >= widths.of_column(*names)
    abouts = [*TABLE.operations, *TABLE.levels]
    assert width_px(alerts) - 2 * GAP_PX - sum(fixed) >= widths.of_column(*abouts)
    titles = [row.title for row in TABLE.operations.values()]
    for title in ("Every operation against its target", "Who was beyond a target, and the trace"):
        (board,) = (one for one in panels(overview) if one["title"].startswith(title))
        assert overriding(board, "Operation")["custom.width"] >= widths.of_column(*titles)


def test_a_gap_of_a_timeline_is_called_what_it_is_beside_data_too() -> None:
    # Its legend has the words that stand there where nothing is.
    for name, title in (("overview", "Since when"), ("agents", "Who was busy")):
        defaults = panel(page(name), title)["fieldConfig"]["defaults"]
        assert "yet" not in defaults["noValue"]
        assert "time range" not in defaults["noValue"]


def test_rows_whose_number_is_known_have_no_pager() -> None:
    assert panel(page("overview"), "Since when")["options"]["perPage"] == 0
    many = {f"own.{number}": {"target_s": 1.0, "title": str(number)} for number in range(20)}
    table = target_table.load(config.Config(targets={"operations": many}))
    assert panel(page("overview", table), "Since when")["options"]["perPage"] > 0


def test_durations_are_drawn_so_that_one_spike_does_not_flatten_them(model: Json) -> None:
    for one in panels(model):
        defaults = one["fieldConfig"]["defaults"]
        is_stacked = (
            defaults.get("custom", {}).get("drawStyle") == "bars"
        )  # sums, which begin at zero
        if one["type"] == "timeseries" and defaults["unit"] == units.SECONDS and not is_stacked:
            assert defaults["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
            # Of zero there is no logarithm.
            assert "min" not in defaults


def test_bytes_are_counted_in_powers_of_two_everywhere(model: Json) -> None:
    found = re.findall(r'"unit": "([^"]+)"', json.dumps(model))
    assert not {"decbytes", "Bps", "KBs", "MBs", "decmbytes"} & set(found)


def test_limits_leave_the_legend_to_what_was_measured(model: Json) -> None:
    for one in panels(model):
        if one["type"] == "timeseries":
            for target in one["targets"]:
                if target["refId"] in ("target", "warning"):
                    hidden = overriding(one, target["refId"])["custom.hideFrom"]
                    assert hidden == {"legend": True, "tooltip": False, "viz": False}


def test_what_only_a_project_can_tell_says_how_to_supply_it() -> None:
    for title in ("Test coverage", "Code quality", "Documented"):
        empty = panel(page("kpis"), title)["fieldConfig"]["defaults"]["noValue"]
        assert re.search(r"coverage\.xml|orchwatch kpi set \S+", empty), title
    named = [
        panel(page("kpis"), title)["fieldConfig"]["defaults"]["noValue"].rpartition(" ")[2]
        for title in ("Code quality", "Documented")
    ]
    assert set(named) <= set(project.HIGHEST)


def test_a_trace_that_has_not_ended_says_so() -> None:
    one = panel(page("session"), "Turns and orchestrations")
    (mapping,) = overriding(one, "Service")["mappings"]
    (shown,) = mapping["options"].values()
    assert (shown["text"], shown["color"]) == ("still running", grading.UNKNOWN)


def test_an_unknown_status_is_grey_and_sorts_last() -> None:
    table = panel(page("overview"), "Every operation against its target")
    (mapping,) = overriding(table, "Status")["mappings"]
    assert mapping["options"]["-1"]["color"] == grading.UNKNOWN
    assert min(mapping["options"], key=int) == "-1"


@pytest.mark.parametrize(
    ("name", "title", "row_id"),
    [
        ("overview", "Availability", "availability"),
        ("resources", "CPU usage now", "cpu.utilization"),
        ("resources", "Memory of a session", "session.memory"),
        ("kpis", "Tasks that succeed", "task.success"),
        ("kpis", "Tasks that fail", "task.errors"),
        ("agents", "Parallel execution, all", "parallel.execution"),
    ],
)
def test_colours_begin_where_the_table_says(name: str, title: str, row_id: str) -> None:
    row = TABLE.levels[row_id]
    found = steps(panel(page(name), title)["fieldConfig"]["defaults"]["thresholds"])
    values = sorted({row.target, row.warning})
    assert [value for value, _ in found] == [None, *values]
    assert found[-1][1] == (grading.OK if row.direction == "above" else grading.MISS)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("operations", "p50, p95 and p99 against the target"),
        ("agents", "How long all agents took to start"),
        ("agents", "Utilization and parallelism of all"),
        ("resources", "CPU"),
        ("resources", "Memory, and its forecasts"),
        ("resources", "Memory by service"),
        ("kpis", "Tasks that succeed over time"),
        ("kpis", "Tasks that fail over time"),
    ],
)
def test_limits_are_dashed_lines_of_the_same_colours_everywhere(name: str, title: str) -> None:
    one = panel(page(name), title)
    asked = {target["refId"]: target.get("expr", "") for target in one["targets"]}
    for ref, color in (("target", grading.WARN), ("warning", grading.MISS)):
        assert f"_{ref}:" in asked[ref]
        drawn = overriding(one, ref)
        assert drawn["color"] == {"mode": "fixed", "fixedColor": color}
        assert drawn["custom.lineStyle"]["fill"] == "dash"


@pytest.mark.parametrize("row_id", list(TABLE.levels))
def test_a_colour_is_what_the_table_grades_a_value(row_id: str) -> None:
    row = TABLE.levels[row_id]
    found = grading.steps(units.limits(row))
    colors = {"ok": grading.OK, "warn": grading.WARN, "miss": grading.MISS}
    between = (row.target + row.warning) / 2
    for value in (row.target * 0.5, row.target * 1.5, between * 1.0001, between * 0.9999):
        begun = [color for begin, color in found if begin is None or begin <= value]
        assert begun[-1] == colors[row.status(value)], value


def test_the_p95_of_each_hook_has_the_colours_of_the_target_of_hooks() -> None:
    row = TABLE.operations["hook.process"]
    found = steps(overriding(panel(page("hooks"), "Each hook"), "p95")["thresholds"])
    limits_ns = [round(row.target_s * 1e9), round(row.warning_s * 1e9)]
    assert [value for value, _ in found] == [None, *limits_ns]
    assert [color for _, color in found] == [grading.OK, grading.WARN, grading.MISS]


@pytest.mark.parametrize("target", [0.0, 2.0])
def test_a_value_at_a_target_without_a_warning_is_no_miss(target: float) -> None:
    rejected = {"direction": "below", "target": target, "warning": target, "unit": "{item}"}
    table = target_table.load(config.Config(targets={"levels": {"queue.rejected": rejected}}))
    (_, fine), (begin, missed) = grading.steps(units.limits(table.levels["queue.rejected"]))
    assert (fine, missed) == (grading.OK, grading.MISS)
    assert begin is not None
    assert target < begin < target + 1e-9


def test_a_number_changed_in_the_table_changes_the_pages_that_show_it_and_no_other() -> None:
    changes = {"target": 0.5, "warning": 0.6, "alert": 0.6}
    user = config.Config(targets={"levels": {"cpu.utilization": changes}})
    changed = target_table.load(user)
    differing = [name for name in dashboards.PAGES if page(name) != page(name, changed)]
    assert differing == ["resources"]
    shown = panel(page("resources", changed), "CPU usage now")["fieldConfig"]["defaults"]
    assert [value for value, _ in steps(shown["thresholds"])] == [None, 0.5, 0.6]


def test_an_operation_of_the_users_own_is_on_the_home_page() -> None:
    row = {"target_s": 7.5, "title": "Mine"}
    user = config.Config(targets={"operations": {"my.operation": row}})
    board = panel(page("overview", target_table.load(user)), "Every operation against its target")
    (mapping,) = overriding(board, "Operation")["mappings"]
    assert mapping["options"]["my.operation"]["text"] == "Mine"


def test_the_committed_provisioning_points_at_the_pages() -> None:
    provider = (REPO / "grafana/provisioning/dashboards/orchwatch.yaml").read_text()
    assert "path: /etc/grafana/dashboards\n" in provider
    assert "allowUiUpdates: false" in provider
    home = f"default_home_dashboard_path = /etc/grafana/dashboards/{dashboards.PAGES[0]}.json"
    assert home in (REPO / "grafana/grafana.ini").read_text()
    compose = (REPO / "docker-compose.yml").read_text()
    assert "./grafana/dashboards:/etc/grafana/dashboards:ro" in compose


def test_sessions_and_agents_are_listed_for_the_whole_time_range() -> None:
    sources = (REPO / "grafana/provisioning/datasources/orchwatch.yaml").read_text()
    (range_s,) = re.findall(r"timeRangeForTags: (\d+)\n", sources)
    (retained_h,) = re.findall(
        r"block_retention: (\d+)h\n", (REPO / "tempo/tempo.yaml").read_text()
    )
    assert int(range_s) == int(retained_h) * 3600


@pytest.mark.parametrize(("session_ids", "shown"), [({"s 1"}, "s+1"), ({"s 1", "s 2"}, "%24__all")])
def test_a_session_has_an_address_and_several_have_one_together(
    session_ids: set[str], shown: str
) -> None:
    start_ns, end_ns = 1_000_000_000_000_000_000, 1_000_000_060_000_000_000
    found = dashboards.session_address("http://grafana", session_ids, start_ns, end_ns)
    assert found == (
        f"http://grafana/d/orchwatch-session?from=999999940000&to=1000000120000&var-session={shown}"
    )
    assert page("session")["uid"] == "orchwatch-session"


def test_without_the_extra_one_line_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['grafana_foundation_sdk'] = None\n"
        "from orchwatch.cli.main import main\n"
        "sys.exit(main(['generate', '--check']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPO,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "orchwatch[grafana]" in line
