"""What explains a bend in any line of any page: an alert that fired, a target that was changed."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from orchwatch.mixin.dashboards import grading, queries
from orchwatch.mixin.lib.promql import OPERATION, text
from orchwatch.mixin.rules import recording

# A rule is evaluated every 15 s.
_STEP = "15s"


def every() -> models.AnnotationContainer:
    """The same on each page."""
    targets = f"{recording.TARGET}|{recording.LEVEL_TARGET}"
    about = f"{{{{target}}}}{{{{{OPERATION}}}}}"
    firing = 'ALERTS{alertstate="firing",severity=~"warning|critical"}'
    changed = f"changes({{__name__=~{text(targets)}}}[1m]) > 0"
    return models.AnnotationContainer(
        list_val=[
            _annotation(
                "Alerts", firing, "{{alertname}}", f"{{{{severity}}}}: {about}", grading.MISS
            ),
            _annotation("Changed targets", changed, "target changed", about, grading.NEUTRAL),
        ]
    )


def _annotation(name: str, expr: str, title: str, words: str, color: str) -> models.AnnotationQuery:
    return models.AnnotationQuery(
        name=name,
        datasource=queries.PROMETHEUS,
        icon_color=color,
        expr=expr,
        title_format=title,
        text_format=words,
        step=_STEP,
    )
