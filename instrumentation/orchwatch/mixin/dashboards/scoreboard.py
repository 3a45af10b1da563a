"""The tables of the home page: each row of the targets against what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.models import common as shapes

from orchwatch import units as spelled
from orchwatch.mixin.dashboards import grading, panels, queries, units, widths
from orchwatch.mixin.dashboards.page import PAGE, labelled, link, link_to
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.lib import level_series
from orchwatch.mixin.lib.promql import OPERATION
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Direction, LevelTarget, Targets

NOTHING: Final = "nothing measured"
BACKGROUND: Final = {"type": "color-background", "mode": "basic"}
_RANK: Final = "rank"
_COLORED: Final = {"type": "color-text"}
_SINCE: Final = {"unit": units.SINCE, "custom.width": widths.of_ago()}


def p95(settings: Settings) -> str:
    """The recorded p95 of every operation."""
    return f"{recording.P95}{settings.window}"


def operations(table: Targets, settings: Settings) -> Panel:
    """Every operation of the table, the worst first."""
    latest, known = queries.latest(p95(settings)), f"and on ({OPERATION}) {recording.TARGET}"
    missing = f"or on ({OPERATION}) {recording.TARGET} * NaN"
    columns = {
        "status": ("Status", _status(settings)),
        "p95": ("p95", f"{latest} {known} {missing}"),
        "target": ("Target", recording.TARGET),
        "within": (
            "Under target",
            f"{recording.WITHIN_RATIO}{settings.period} {missing}",
        ),
        "budget": ("Budget left", f"{recording.BUDGET_LEFT} {missing}"),
        "ended": (
            "Operations",
            f"{recording.ENDED}{settings.period} {known} {missing}",
        ),
        "seen": ("Measured", f"{queries.seen(p95(settings))} * 1000 {known}"),
    }
    targets = [queries.rows(ref, expr) for ref, (_, expr) in columns.items()]
    trend = queries.lines("trend", f"{p95(settings)} {known}", "")
    renamed = {
        OPERATION: "Operation",
        **{f"Value #{ref}": title for ref, (title, _) in columns.items()},
        "Trend #trend": "Trend of p95",
    }
    text = Text(
        "Every operation against its target",
        f"p95 over {settings.window}, the latest within a day and when it was measured; share "
        f"under target, budget and number of operations over {settings.period}. Unknown: none "
        f"ended within {settings.window}. A click on an operation opens its page.",
        NOTHING,
    )
    panel = panels.rows(
        text,
        *targets,
        trend,
        queries.rows(_RANK, _rank(settings)),
        transformations=[
            transform("timeSeriesTable"),
            transform("joinByField", byField=OPERATION, mode="outer"),
            transform("sortBy", sort=[{"field": f"Value #{_RANK}", "desc": True}]),
            *panels.chosen(renamed),
        ],
    )
    name_operations(panel, table)
    opened = link("operations", "service", operation="${__value.raw}")
    column(panel, "Operation", links=panels.opens(opened))
    column(panel, "Status", **_graded())
    for name in ("p95", "Target"):
        column(panel, name, unit=units.SECONDS, decimals=None, **{"custom.width": 80})
    column(panel, "Operations", unit=units.COUNT)
    column(panel, "Measured", **_SINCE)
    column(panel, "Under target", unit=units.SHARE, decimals=1)
    budget = grading.thresholds(grading.BUDGET_STEPS).build()
    column(
        panel,
        "Budget left",
        **{"unit": units.SHARE, "thresholds": budget, "custom.cellOptions": _COLORED},
    )
    spark = {"type": "sparkline", "lineWidth": 2, "fillOpacity": 0, "hideValue": True}
    # Grafana's sparkline knows no thresholds, and takes a dull grey for them.
    blue = {"mode": "fixed", "fixedColor": grading.NEUTRAL}
    column(
        panel,
        "Trend of p95",
        **{"custom.cellOptions": spark, "unit": units.SECONDS, "color": blue, "noValue": "-"},
    )
    return panel


def name_operations(panel: panels.Table, table: Targets) -> None:
    """Calls operations what the table calls them, in a column that is as wide as that."""
    titles = {row.id: row.title for row in table.operations.values()}
    _named(panel, "Operation", {row_id: (title, "") for row_id, title in titles.items()})
    column(panel, "Operation", **{"custom.width": widths.of_column(*titles.values())})


def shares(table: Targets) -> Panel:
    """Every level that is a share, the worst first."""
    rows = [row for row in table.levels.values() if row.unit == "1"]
    value = level_series.VALUE
    target = f"{recording.LEVEL_TARGET}{_targets([row.id for row in rows])}"
    columns = {
        "status": ("Status", _level_status(table, [row.id for row in rows])),
        "value": (
            "Now",
            f"{value} and on (target) {target} or on (target) {target} * NaN",
        ),
        "target": ("Target", labelled(target, "target", _pages(table))),
        "seen": ("Reported", f"{queries.seen(value)} * 1000 and on (target) {target}"),
    }
    renamed = {f"Value #{ref}": title for ref, (title, _) in columns.items()}
    text = Text(
        "Every share against its target",
        "Reliability, resources and key figures, and when they were reported last. Unknown: not "
        "now; CPU, memory and key figures need `orchwatch monitor`.",
        "no rules",
    )
    panel = panels.rows(
        text,
        *(queries.rows(ref, expr) for ref, (_, expr) in columns.items()),
        unit=units.SHARE,
        decimals=3,
        transformations=_joined("target", {"target": "What", **renamed, PAGE: PAGE}, "Status"),
    )
    _named(panel, "What", {row.id: (row.title, "") for row in rows})
    column(panel, "What", **{"custom.width": widths.of_column(*(row.title for row in rows))})
    column(panel, "What", links=panels.opens(link_to(), "Show it"))
    panels.hidden(panel, PAGE)
    column(panel, "Reported", **_SINCE)
    return column(panel, "Status", **_graded())


def _pages(table: Targets) -> dict[str, str]:
    """The page that shows each level."""
    return {row.id: level_series.dashboard(row) for row in table.levels.values()}


def _level_status(table: Targets, ids: list[str]) -> str:
    def of(direction: Direction, sign: str) -> str:
        matched = _targets([one for one in ids if table.levels[one].direction == direction])
        value = f"{level_series.VALUE}{matched}"
        target, warning = (
            f"{recording.LEVEL_TARGET}{matched}",
            f"{recording.LEVEL_WARNING}{matched}",
        )
        return queries.status(value, target, warning, "target", sign)

    return f"{of('below', '>')} or {of('above', '<')}"


def _targets(ids: list[str]) -> str:
    pattern = "|".join(ids).replace(".", "\\\\.")
    return f'{{target=~"{pattern}"}}'


def missed(table: Targets, settings: Settings) -> str:
    """How many rows of the table are beyond their warning; none where nothing was measured."""
    status = f"({_status(settings)}) or ({_level_status(table, list(table.levels))})"
    return f"count(({status}) == 2) or 0 * count(({status}) >= 0)"


def other_levels(table: Targets) -> Panel:
    """The levels in other units: a table has one unit for each column."""
    rows = [row for row in table.levels.values() if row.unit != "1"]
    text = Text(
        "Levels against their targets",
        "They need `orchwatch monitor`; coverage and quality come from the project's own reports.",
        "not measured",
    )
    panel = panels.number(
        text,
        *(
            # What nobody measured is there, and says so.
            queries.now(
                f"level{index}",
                f"{queries.level(row.id)} or on () vector(NaN)",
                f"{row.title} ({_promise(row)})",
            )
            for index, row in enumerate(rows)
        ),
        unit=units.NUMBER,
        decimals=None,
    )
    panel.orientation(shapes.VizOrientation.HORIZONTAL)
    panel.text(common.VizTextDisplayOptions().title_size(14).value_size(24))
    for index, row in enumerate(rows):
        limits = units.limits(row)
        steps = grading.thresholds(grading.steps(limits)).build()
        panels.of_query(panel, f"level{index}", unit=limits.unit, thresholds=steps)
    return panel


def _promise(row: LevelTarget) -> str:
    sign = "≤" if row.direction == "below" else "≥"
    return f"{sign} {spelled.level(row.target, row.unit)}".replace("MiB", " MiB")


def _joined(key: str, renamed: dict[str, str], worst: str) -> list[panels.Transformation]:
    return [
        transform("joinByField", byField=key, mode="outer"),
        *panels.chosen(renamed, worst),
    ]


def _named(panel: panels.Table, name: str, titles: dict[str, tuple[str, str]]) -> None:
    column(panel, name, mappings=[grading.words(titles)])


def _graded() -> dict[str, object]:
    return {
        "mappings": [grading.status_words()],
        "thresholds": grading.thresholds(grading.STATUS_STEPS).build(),
        "custom.cellOptions": BACKGROUND,
        "custom.align": "center",
        "custom.width": 80,
    }


def _rank(settings: Settings) -> str:
    """The worst status first, and of equal ones that with the least budget."""
    left = f"clamp({recording.BUDGET_LEFT} or on ({OPERATION}) {recording.TARGET} * 0 + 1, -99, 1)"
    return f"({_status(settings)}) * 100 - on ({OPERATION}) {left}"


def _status(settings: Settings) -> str:
    return queries.status(p95(settings), recording.TARGET, recording.WARNING, OPERATION)
