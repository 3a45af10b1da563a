"""Panels as every page has them: each says what it shows, in what unit, and why it is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    nodegraph,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models

from orchwatch.mixin.dashboards import grading, queries, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery

    from orchwatch.mixin.dashboards.grading import Steps
    from orchwatch.targets.target_table import LevelTarget

    Query = Builder[Dataquery]
    Panel = Builder[models.Panel]

Transformation = models.DataTransformerConfig
Table = table.Panel

P = TypeVar(
    "P",
    dashboard.Panel,
    heatmap.Panel,
    nodegraph.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)


class Text(NamedTuple):
    """What a person reads of a panel.

    Attributes:
        title: Its heading.
        description: What it shows and how it is counted.
        empty: Stands where a value is missing, and says why.
    """

    title: str
    description: str
    empty: str


def number(
    text: Text, *targets: Query, unit: str, decimals: int | None, steps: Steps = grading.NO_STEPS
) -> stat.Panel:
    """One large number for each query, in the colour of its status."""
    panel = _dressed(stat.Panel(), text, targets, unit, decimals)
    panel.mappings([grading.unmeasured(text.empty)]).thresholds(grading.thresholds(steps))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.color_mode(shapes.BigValueColorMode.VALUE).graph_mode(shapes.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    return panel.justify_mode(shapes.BigValueJustifyMode.CENTER)


def level(row: LevelTarget, text: Text) -> stat.Panel:
    """The value of a level in the colour of its status, or in grey for how long there was none."""
    limits = units.limits(row)
    series = queries.level(row.id)
    panel = number(
        text,
        queries.now("A", series, NOW),
        queries.now("age", f"max({queries.age(series)})", "last reported, ago"),
        unit=limits.unit,
        decimals=limits.decimals,
        steps=grading.steps(limits),
    )
    return aged(panel)


def aged(panel: P) -> P:
    """Shows the query `age` in grey, as a time with a name; it answers when no other does."""
    grey = grading.thresholds([(None, grading.UNKNOWN)]).build()
    return of_query(panel, "age", unit=units.SECONDS, decimals=0, thresholds=grey)


def advised(row: LevelTarget, empty: str, title: str = "") -> stat.Panel:
    """The same, called what the table calls it, with what the table recommends."""
    return level(row, Text(title or row.title, f"Beyond its target: {row.recommendation}.", empty))


def agents_at_work() -> stat.Panel:
    """How many agents are busy."""
    text = Text(
        "At work, all",
        "Agents of all sessions that were busy within the last minute, as the monitor process sees "
        "them, or that an orchestration has right now, whichever are more.",
        "no agent seen",
    )
    return number(text, queries.now("A", queries.ACTIVE_AGENTS), unit=units.NUMBER, decimals=0)


def graph(
    text: Text,
    *targets: Query,
    unit: str,
    decimals: int | None,
    steps: Steps | None = None,
    logarithmic: bool = False,
) -> timeseries.Panel:
    """Lines over time; limits of the table are dashed lines in the colour that begins there.

    Args:
        text: What a person reads.
        targets: What is drawn.
        unit: Grafana's name of the unit.
        decimals: Digits after the point, as many as it takes if None.
        steps: Where colours begin.
        logarithmic: So that one spike does not flatten a day; for what is never zero.
    """
    panel = _dressed(timeseries.Panel(), text, targets, unit, decimals)
    panel.line_width(2).fill_opacity(0).show_points(shapes.VisibilityMode.AUTO)
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    # Samples come at intervals of up to a minute; a longer gap is a gap.
    panel.span_nulls(span_nulls=180_000).legend(_legend().calcs(_SUMMED_UP)).tooltip(_tooltip())
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG)
        panel.scale_distribution(scale.log(10))
    elif unit == units.SHARE:
        panel.axis_soft_min(0)
    else:
        panel.min(0)
    if steps is not None:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(grading.thresholds(steps)).thresholds_style(style)
        found = [value for value, _ in steps if value is not None]
        # Where everything is far from its limit, the limit is still in sight.
        panel.axis_soft_max(max(found))
    return panel


def bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Counts in each interval, on top of each other."""
    panel.draw_style(shapes.GraphDrawStyle.BARS).fill_opacity(60).line_width(1)
    return panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))


def heat(text: Text, target: Query, *, unit: str, decimals: int | None) -> heatmap.Panel:
    """A histogram over time; its exemplars open the trace."""
    panel = _dressed(heatmap.Panel(), text, [target], unit, decimals)
    axis = heatmap.YAxisConfig().unit(unit).axis_placement(shapes.AxisPlacement.LEFT)
    panel.calculate(calculate=False).y_axis(axis)
    # A cell is a number of operations; the panel's own unit is what exemplars and the axis have.
    panel.cell_values(heatmap.CellValues().unit(units.COUNT).decimals(0))
    tooltip = (
        heatmap.HeatmapTooltip()
        .mode(shapes.TooltipDisplayMode.SINGLE)
        .show_color_scale(show_color_scale=True)
    )
    colors = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME)
    colors.scheme("Blues").fill("dark-blue").exponent(0.5).steps(32).reverse(reverse=False)
    panel.color(colors).filter_values(heatmap.FilterValueRange().le(1e-9))
    return panel.tooltip(tooltip).exemplars_color(grading.WARN).hide_legend()


def rows(
    text: Text,
    *targets: Query,
    unit: str = units.NUMBER,
    decimals: int | None = 0,
    transformations: Sequence[Transformation] = (),
) -> table.Panel:
    """A table."""
    panel = _dressed(table.Panel(), text, targets, unit, decimals)
    panel.mappings([grading.unmeasured("-"), grading.empty("-")])
    # Without it each column has 150 pixels, and the last ones are hidden where they do not fit.
    panel.cell_height(shapes.TableCellHeight.SM).min_width(_NARROWEST_PX)
    panel.thresholds(grading.thresholds(grading.NO_STEPS))
    # The library still puts it where Grafana had it before 12.2.
    cast("Any", panel.build()).options.footer = None
    return panel.transformations(list(transformations))


def timeline(
    text: Text,
    target: Query,
    transformations: Sequence[Transformation] = (),
    number_of_rows: int | None = None,
) -> statetimeline.Panel:
    """States over time, a row each, in the colours of their mappings.

    Args:
        text: What a person reads; why it is empty is also what its legend calls a gap.
        target: The states.
        transformations: What becomes of them.
        number_of_rows: Where it is known and they fit, there is no pager.
    """
    panel = _dressed(statetimeline.Panel(), text, [target], "none", 0)
    # An answer without series is a frame without columns: Grafana would miss the time in it.
    empty = transform("filterFieldsByName", include={"pattern": ".*"})
    panel.transformations([empty, *transformations]).show_value(shapes.VisibilityMode.NEVER)
    # By thresholds, legend and tooltip would show numbers instead of the states' words.
    fixed = dashboard.FieldColor().mode(models.FieldColorModeId.FIXED)
    panel.color_scheme(fixed.fixed_color(grading.UNKNOWN))
    panel.per_page(_ROWS_A_PAGE)
    if number_of_rows is not None and number_of_rows <= _ROWS_A_PAGE:
        # As Grafana has it, and its library has no word for it.
        cast("Any", panel.build()).options.per_page = 0
    panel.row_height(0.8).merge_values(merge_values=True).fill_opacity(80).line_width(0)
    return panel.legend(_legend()).tooltip(_tooltip())


def graph_of_nodes(text: Text, target: Query) -> nodegraph.Panel:
    """Who called whom, how often, and how many of these failed.

    Grafana adds up on each node what the lines to it say, where that is numbers.
    """
    panel = _dressed(nodegraph.Panel(), text, [target], units.NUMBER, _WHOLE)
    said = nodegraph.EdgeOptions().main_stat_unit("calls").secondary_stat_unit("failed")
    return panel.edges(said)


def whole_trace(text: Text, target: Query) -> dashboard.Panel:
    """One trace, and in it what the variable `span` names; the library has no builder for it."""
    panel = _dressed(dashboard.Panel().type("traces"), text, [target], units.NUMBER, 0)
    return panel.options({"spanFilters": {"query": "$span", "matchesOnly": False}})


def flame(
    text: Text, *targets: Query, transformations: Sequence[Transformation]
) -> dashboard.Panel:
    """A flame graph; the library has no builder for it.

    It takes one frame, whose columns are called `level`, `label`, `value` and `self`: callers
    first, each followed by all below it, and one row at the top. Another title does not count: the
    columns must be called so.
    """
    panel = _dressed(dashboard.Panel().type("flamegraph"), text, targets, units.NANOSECONDS, None)
    return panel.options({}).transformations(list(transformations))


def column(panel: P, name: str, **properties: Any) -> P:
    """What a column, or a line, has otherwise than the panel."""
    found = [
        models.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()
    ]
    return panel.override_by_name(name, found)


def of_query(panel: P, ref: str, **properties: Any) -> P:
    """What the answer of a query has otherwise than the panel."""
    found = [
        models.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()
    ]
    return panel.override_by_query(ref, found)


def transform(kind: str, **options: Any) -> Transformation:
    """A transformation of what the queries answered."""
    return models.DataTransformerConfig(id_val=kind, options=options)


def chosen(renamed: dict[str, str], largest: str = "") -> list[Transformation]:
    """These columns in this order under these names, the largest of one first."""
    order = {name: place for place, name in enumerate(renamed)}
    found = [
        transform("filterFieldsByName", include={"names": list(renamed)}),
        transform("organize", renameByName=renamed, indexByName=order, excludeByName={}),
    ]
    if largest:
        found.append(transform("sortBy", sort=[{"field": largest, "desc": True}]))
    return found


def hidden(panel: P, name: str) -> P:
    """A column that only links use, which take of it what would be shown: all as it is.

    Another column's words for people, or an id of sixteen digits as a number, would lead nowhere.
    """
    as_it_is = {"unit": "string", "mappings": []}
    away = {"custom.hidden": True, "custom.hideFrom": {"viz": True}}
    return column(panel, name, **as_it_is, **away)


def computed(name: str, left: str, sign: str, right: str) -> Transformation:
    """A column out of two others, or of one and a number."""
    binary = {"left": _operand(left), "operator": sign, "right": _operand(right)}
    return transform(
        "calculateField", mode="binary", alias=name, replaceFields=False, binary=binary
    )


def reduced(name: str, how: str, *columns: str) -> Transformation:
    """A column of one value out of each row's."""
    reduce = {"include": list(columns), "reducer": how}
    return transform(
        "calculateField", mode="reduceRow", alias=name, replaceFields=False, reduce=reduce
    )


def extracted(source: str, pattern: str) -> Transformation:
    """Columns out of the named groups of a pattern."""
    return transform("extractFields", source=source, format="regexp", regExp=pattern)


def converted(name: str, kind: str) -> Transformation:
    """A column of another type."""
    conversion = {"targetField": name, "destinationType": kind}
    return transform("convertFieldType", conversions=[conversion])


def _operand(text: str) -> dict[str, object]:
    if text.isdigit():
        return {"fixed": text}
    return {"matcher": {"id": "byName", "options": text}}


def opens(url: str, title: str = "Open") -> list[dict[str, object]]:
    """A link from a value to a page."""
    return [{"title": title, "url": url, "targetBlank": False}]


def limited(panel: timeseries.Panel) -> timeseries.Panel:
    """Draws the queries `target` and `warning` in the same colours on every page.

    A legend of what the last and the highest of a constant was would push others out of sight.
    """
    for ref, color in (("target", grading.WARN), ("warning", grading.MISS)):
        limit_line(panel, ref, color)
        of_query(
            panel, ref, **{"custom.hideFrom": {"legend": True, "tooltip": False, "viz": False}}
        )
    return panel


def before(panel: timeseries.Panel, ref: str) -> timeseries.Panel:
    """Makes the answer of a query what a line is compared with: thin, grey and dashed."""
    return limit_line(panel, ref, grading.UNKNOWN)


def limit_line(panel: timeseries.Panel, ref: str, color: str) -> timeseries.Panel:
    """Makes the answer of a query a dashed line of a fixed colour."""
    properties = {
        "color": {"mode": "fixed", "fixedColor": color},
        "custom.lineStyle": {"fill": "dash", "dash": [10, 10]},
        "custom.lineWidth": 1,
        "custom.fillOpacity": 0,
        "custom.showPoints": "never",
    }
    return of_query(panel, ref, **properties)


def _dressed(
    panel: P, text: Text, targets: Sequence[Query], unit: str, decimals: float | None
) -> P:
    panel.title(text.title).description(text.description).no_value(text.empty)
    panel.unit(unit).targets(list(targets))
    if decimals is not None:
        panel.decimals(decimals)
    source = getattr(targets[0].build(), "datasource", queries.PROMETHEUS)
    return panel.datasource(source)


NOW: Final = "now"
# Grafana's node graph takes 0 for 2 decimals, and anything below 1 for none.
_WHOLE: Final = 0.5
_ROWS_A_PAGE: Final = 15
_NARROWEST_PX: Final = 50
_SUMMED_UP: Final = ["lastNotNull", "max"]
_LEGEND_ROWS: Final = shapes.LegendDisplayMode.LIST


def _legend() -> common.VizLegendOptions:
    made = common.VizLegendOptions().display_mode(_LEGEND_ROWS).show_legend(show_legend=True)
    return made.placement(shapes.LegendPlacement.BOTTOM)


def _tooltip() -> common.VizTooltipOptions:
    made = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI)
    return made.sort(shapes.SortOrder.DESCENDING)
