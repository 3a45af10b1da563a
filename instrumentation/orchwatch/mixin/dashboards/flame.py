"""Where time went by call path: flame graphs of the time range and of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import panels, queries, units, widths
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel, Transformation
    from orchwatch.targets.target_table import Targets

_OWN = promql.series(semconv.CALL_SELF_TIME, "s", counter=True)
_TOTAL = promql.series(semconv.CALL_TIME, "s", counter=True)
_PATH, _ORDER, _LEVEL = (
    name.replace(".", "_") for name in (semconv.CALL_PATH, semconv.CALL_ORDER, semconv.CALL_LEVEL)
)
_NS_PER_S = "1e9"
_NOTHING = "nothing was counted in this time range"
_COUNTED = (
    "`orchwatch monitor` counts a trace when all that called something in it has ended, and says "
    "so within a minute where it is not too much. Paths beyond those that it counts apart are "
    "`other paths`. A service is the one in which a trace began."
)
# Queries, and what Grafana calls the values of each.
_IN_ALL, _ALONE, _BEFORE = "total", "own", "before"
_VALUE = "Value #"


def page(_table: Targets) -> Page:
    """All call paths of the chosen services."""
    return Page(
        name="flame",
        title="Flame",
        description="Where time went by call path, and where it went before.",
        asks=("service",),
        refresh=SELDOM,
        rows=(
            Row(
                height=18,
                panels=(
                    (12, _graph("This time range", before=False)),
                    (12, _graph("The time range before", before=True)),
                ),
            ),
            Section(
                title="Path by path",
                rows=(Row(height=10, panels=((24, _paths()),)),),
            ),
        ),
    )


def _graph(title: str, *, before: bool) -> Panel:
    text = Text(
        title,
        "How wide a frame is says how long all of its name under the same callers took together. "
        "What ran side by side counts for each, so that a frame may be longer than the one that "
        f"called it. {_COUNTED} `orchwatch flame` shows the same, path by path or of one trace.",
        _NOTHING,
    )
    total = f"{_grown(_TOTAL, _PATH, _ORDER, _LEVEL, before=before)} > 0"
    own = _grown(_OWN, _ORDER, before=before)
    nothing = _labelled(_labelled("vector(0)", _ORDER, "-"), _LEVEL, "0")
    labelled = _named("label", _PATH, total) + f" or on () {_labelled(nothing, 'label', _NOTHING)}"
    return panels.flame(
        text,
        queries.rows(_IN_ALL, _named("level", _LEVEL, f"({labelled})")),
        queries.rows(_ALONE, f"{own} or on () {_labelled('vector(0)', _ORDER, '-')}"),
        transformations=_to_frame(),
    )


def _to_frame() -> list[Transformation]:
    """The frame of a flame graph, whose columns are computed: a renamed one has another title."""
    return [
        *_joined("label"),
        panels.converted("level", "number"),
        panels.computed("value", f"{_VALUE}{_IN_ALL}", "*", "1"),
        panels.computed("self", f"{_VALUE}{_ALONE}", "*", "1"),
        transform("sortBy", sort=[{"field": _ORDER}]),
    ]


def _joined(named: str) -> list[Transformation]:
    """A row for each path of the query that names them.

    Counters may arrive between one query and the next, so either may know of paths alone.
    """
    unnamed = {"fieldName": named, "config": {"id": "isNull", "options": {}}}
    return [
        transform("joinByField", byField=_ORDER, mode="outer"),
        transform("filterByValue", type="exclude", match="any", filters=[unnamed]),
    ]


def _paths() -> Panel:
    text = Text(
        "What took longest of its own",
        f"Own: without what it called. Before: its own time in the time range before. {_COUNTED}",
        _NOTHING,
    )
    own = _grown(_OWN, _PATH, _ORDER, before=False)
    renamed = {
        _PATH: "Path",
        f"{_VALUE}{_ALONE}": "Own",
        f"{_VALUE}{_BEFORE}": "Own before",
        f"{_VALUE}{_IN_ALL}": "With all it called",
    }
    panel = panels.rows(
        text,
        queries.rows(_ALONE, f"{own} > 0"),
        queries.rows(_BEFORE, _grown(_OWN, _ORDER, before=True)),
        queries.rows(_IN_ALL, _grown(_TOTAL, _ORDER, before=False)),
        unit=units.NANOSECONDS,
        decimals=None,
        transformations=[
            *_joined(_PATH),
            *panels.chosen(renamed, "Own"),
        ],
    )
    for name in ("Own", "Own before", "With all it called"):
        column(panel, name, **{"custom.width": widths.of_column("With all it called")})
    return column(panel, "Path", unit="string")


def _grown(counter: str, *by: str, before: bool) -> str:
    """Nanoseconds by label, in the time range or in the one before."""
    chosen = f'{counter}{{{queries.SERVICE}=~"$service"}}'
    counted = f"{_NS_PER_S} * sum by ({', '.join(by)}) ({promql.grown(chosen, '$__range')})"
    # The same question asked at the start of the time range.
    return f"last_over_time(({counted})[1s:1s] offset $__range)" if before else counted


def _named(label: str, source: str, expr: str) -> str:
    """The last part of a label, as another one."""
    last = promql.text(f"(?:.*{semconv.CALL_SEPARATOR})?([^{semconv.CALL_SEPARATOR}]*)")
    return f'label_replace({expr}, "{label}", "$1", "{source}", {last})'


def _labelled(expr: str, label: str, value: str) -> str:
    return f'label_replace({expr}, "{label}", {promql.text(value)}, "", "")'
