"""How long an operation takes and how often it fails, for the services that a page has chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchwatch import semconv
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION, number
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.dashboards.units import Limits
    from orchwatch.mixin.lib.alerting import Settings

NONE: Final = "none in this time range"
RATE: Final = "[$__rate_interval]"
BEFORE: Final = "1d"
_P95_BEFORE = "p95 a day before"


def p95_now(operation: str, settings: Settings) -> str:
    """As the rules record it for all services; of the chosen ones."""
    chosen = queries.chosen(f"{DURATION}_bucket", operation)
    rate = f"sum by ({OPERATION}, le) (rate({chosen}[{settings.window}]))"
    return f"(histogram_quantile(0.95, {rate}) >= 0)"


def p95(operation: str, settings: Settings, limits: Limits | None = None) -> Panel:
    """The p95 beside its target, in the colour of its status where its limits are given."""
    text = Text(
        "p95 against target",
        f"The p95 over {settings.window}, of the chosen services, and the target.",
        f"none in {settings.window}",
    )
    target = f"{recording.TARGET}{promql.selector(operation=operation)}"
    panel = panels.number(
        text,
        queries.now("A", p95_now(operation, settings), "p95"),
        queries.now("B", target, "target"),
        unit=units.SECONDS,
        decimals=None,
    )
    if limits is None:
        return panel
    graded = grading.thresholds(grading.steps(limits)).build()
    return panels.of_query(panel, "A", thresholds=graded)


def _p95_before(chosen: str) -> panels.Query:
    rate = f"sum by (le) (rate({chosen}{RATE} offset {BEFORE}))"
    return queries.lines("before", f"histogram_quantile(0.95, {rate})", _P95_BEFORE)


def percentiles(operation: str) -> Panel:
    """The p50, p95 and p99 over time."""
    chosen = queries.chosen(f"{DURATION}_bucket", operation)
    found = [
        queries.lines(
            f"p{percent}",
            f"histogram_quantile({number(percent / 100)}, sum by (le) (rate({chosen}{RATE})))",
            f"p{percent}",
            exemplars=percent == queries.WITH_EXEMPLARS,
        )
        for percent in queries.PERCENTILES
    ]
    text = Text(
        "p50, p95 and p99 against the target",
        "Interpolated within buckets. The dashed lines are the table's target and warning, the "
        "grey one is the p95 a day before. A diamond is one operation: it opens its trace.",
        NONE,
    )
    panel = panels.graph(
        text,
        *found,
        _p95_before(chosen),
        *queries.operation_limits(promql.selector(operation=operation)),
        unit=units.SECONDS,
        decimals=None,
        logarithmic=True,
    )
    return panels.before(panels.limited(panel), "before")


def heatmap(operation: str) -> Panel:
    """How many took how long, over time."""
    text = Text(
        "How long they took",
        "How many operations ended in each bucket; every target is the edge of one. A diamond is "
        "one operation: it opens its trace.",
        NONE,
    )
    buckets = queries.chosen(f"{DURATION}_bucket", operation)
    query = queries.buckets("A", buckets, recording.EDGE)
    return panels.heat(text, query, unit=units.SECONDS, decimals=None)


def failures(operation: str) -> Panel:
    """How many failed, and of what, over time."""
    labels = {"status_code": semconv.STATUS_ERROR}
    chosen = queries.chosen(f"{DURATION}_count", operation, **labels)
    kind = semconv.ERROR_TYPE.replace(".", "_")
    text = Text("Failures by type", "How many failed, by the type of the error.", "none failed")
    query = queries.counted("A", chosen, kind, f"{{{{{kind}}}}}", queries.COUNTED)
    return panels.bars(panels.graph(text, query, unit=units.NUMBER, decimals=0))
