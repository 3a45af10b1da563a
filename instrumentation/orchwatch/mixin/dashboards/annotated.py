"""What explains a bend in any line of any page: an alert, a changed target, a new version."""

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
    # As Prometheus has the resource of what reports over OTLP. The first version of all is no news.
    known = 'target_info{service_version!=""}'
    earlier = f"last_over_time({known}[{queries.LATEST}] offset 1m)"
    by = "by (job, service_version)"
    version = f"count {by} ({known}) unless count {by} ({earlier}) and on (job) {earlier}"
    changed = f"changes({{__name__=~{text(targets)}}}[1m]) > 0"
    return models.AnnotationContainer(
        list_val=[
            _annotation(
                "Alerts", firing, "{{alertname}}", f"{{{{severity}}}}: {about}", grading.MISS
            ),
            _annotation("Changed targets", changed, "target changed", about, grading.NEUTRAL),
            _annotation(
                "New versions", version, "{{job}}", "version {{service_version}}", grading.OK
            ),
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
