"""A page: rows of panels on a grid of 24 columns, variables, and links to the other pages."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from orchwatch.mixin.dashboards import TAG, annotated, queries, uid, variables
from orchwatch.mixin.lib.promql import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchwatch.mixin.dashboards.computed import Computed, Listed
    from orchwatch.mixin.dashboards.panels import Panel

COLUMNS: Final = 24
_HEADING: Final = 1
# JSON has no comments: the tag says that a page is written by `orchwatch generate`.
GENERATED_TAG: Final = "generated"
# For a table's links: the time range and where data comes from, without what the link itself sets.
KEPT: Final = "&".join(
    [
        "${__url_time_range}",
        *(f"${{{queries.source_variable(kind)}:queryparam}}" for kind in queries.SOURCES),
    ]
)

# The label and the column that hold a page's uid.
PAGE: Final = "page"

# For pages that search traces, which costs more than to look up series.
SELDOM: Final = "1m"
_RANGE: Final = ("now-1h", "now")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, as wide as the grid together.

    Attributes:
        height: In units of the grid (30 pixels and 8 between).
        panels: Width and panel, from the left.
    """

    height: int
    panels: tuple[tuple[int, Panel], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under a heading, which a click folds and unfolds.

    Attributes:
        title: The heading.
        rows: From the top.
        folded: Whether it is opened only by a click; until then its panels ask nothing.
    """

    title: str
    rows: tuple[Row, ...]
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        name: The last part of its uid.
        title: What it is called in lists and links.
        description: What it answers.
        rows: From the top.
        asks: The variables that its queries use and a reader sees.
        computed: The variables that it computes and a reader does not see.
        refresh: How often it asks again.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row | Section, ...]
    asks: tuple[str, ...] = ()
    computed: tuple[Computed | Listed, ...] = ()
    refresh: str = "30s"

    def text(self) -> str:
        """As Grafana reads it from a file."""
        return JSONEncoder(sort_keys=True, indent=2).encode(self._built()) + "\n"

    def _built(self) -> models.Dashboard:
        page = dashboard.Dashboard(self.title).uid(uid(self.name))
        page.description(self.description).tags([TAG, GENERATED_TAG]).readonly()
        page.time(*_RANGE).refresh(self.refresh).timezone("browser")
        page.tooltip(models.DashboardCursorSync.CROSSHAIR).link(_other_pages())
        for variable in variables.of_page(self.asks, self.computed):
            page.with_variable(variable)
        model = page.build()
        for shown in model.links or []:
            # The library's only value hides links in a menu, and none is what it cannot say.
            shown.placement = None  # type: ignore[assignment]
        names_computed = {one.name for one in self.computed}
        for variable_model in model.templating.list_val or []:
            # Of intervals only, which none is.
            variable_model.auto = variable_model.auto_min = variable_model.auto_count = None
            if variable_model.name in names_computed:
                # Its value is this page's: no link hands it on. No builder has a word for it.
                variable_model.skip_url_sync = True
        model.annotations = annotated.every()
        model.panels = self._placed()
        return model

    def _placed(self) -> list[models.Panel | models.RowPanel]:
        placed: list[models.Panel | models.RowPanel] = []
        numbers = itertools.count(1)
        top = 0
        for one in self.rows:
            if isinstance(one, Row):
                placed += _side_by_side((one,), top, numbers)
                top += one.height
                continue
            place = models.GridPos(h=_HEADING, w=COLUMNS, x=0, y=top)
            heading = models.RowPanel(
                title=one.title, collapsed=one.folded, id_val=next(numbers), grid_pos=place
            )
            panels = _side_by_side(one.rows, top + _HEADING, numbers)
            placed.append(heading)
            top += _HEADING
            if one.folded:
                heading.panels = panels
            else:
                placed += panels
                top += sum(row.height for row in one.rows)
        return placed


def _side_by_side(rows: Iterable[Row], top: int, numbers: Iterator[int]) -> list[models.Panel]:
    placed = []
    for row in rows:
        left = 0
        for width, panel in row.panels:
            built = panel.build()
            built.id_val = next(numbers)
            built.grid_pos = models.GridPos(h=row.height, w=width, x=left, y=top)
            placed.append(built)
            left += width
        top += row.height
    return placed


def span_link(trace: str, span: str) -> str:
    """The address of a span in Explore, as an exemplar's link leads there."""
    target = {
        "refId": "A",
        "datasource": {"type": queries.TEMPO.type_val, "uid": queries.TEMPO.uid},
        "queryType": "traceql",
        "query": trace,
    }
    pane = {
        "datasource": queries.TEMPO.uid,
        "queries": [target],
        "range": {"from": "${__from}", "to": "${__to}"},
        "panelsState": {"trace": {"spanId": span}},
    }
    # What Grafana fills in must stay as it is.
    panes = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="${}._")
    return f"/explore?schemaVersion=1&panes={panes}"


def link(name: str, *keep: str, **variables: str) -> str:
    """The address of a page at the same time, with variables set, and others kept as they are."""
    found = [KEPT, *(f"${{{variable}:queryparam}}" for variable in keep)]
    found += [f"var-{variable}={value}" for variable, value in variables.items()]
    return f"/d/{uid(name)}?{'&'.join(found)}"


def link_to(*chosen: str) -> str:
    """The address of the page whose uid a row's column holds, with what other columns choose."""
    found = "".join(f"&${{__data.fields.{column}}}" for column in chosen)
    return f"/d/${{__data.fields.{PAGE}}}?{KEPT}{found}"


def labelled(expr: str, label: str, pages: Mapping[str, str]) -> str:
    """Puts the page that shows it on each series, as its label `page`.

    Args:
        expr: The series.
        label: What tells them apart.
        pages: The page's uid, by a value of that label.
    """
    by_page: dict[str, list[str]] = {}
    for value, found in pages.items():
        by_page.setdefault(found.partition("?")[0], []).append(re.escape(value))
    for found, values in by_page.items():
        pattern = text("|".join(sorted(set(values))))
        expr = f'label_replace({expr}, "{PAGE}", "{found}", "{label}", {pattern})'
    return expr


def _other_pages() -> dashboard.DashboardLink:
    made = dashboard.DashboardLink("Pages").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    made.as_dropdown(as_dropdown=False).include_vars(include_vars=True)
    return made.keep_time(keep_time=True).target_blank(target_blank=False)
