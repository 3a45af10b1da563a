"""What carries operations to Prometheus and Tempo: is it alive, does it keep up, was anything lost.

Prometheus and Tempo report nothing about themselves here, as nothing is scraped: they are seen
through what the Collector could send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin import alerting, promql
from orchwatch.mixin import pipeline as alerts
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import Page, Row
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.promql import DURATION

if TYPE_CHECKING:
    from orchwatch.mixin.alerting import Settings
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets import Targets

_NO_COLLECTOR = "no sign of the Collector"
_QUEUED = f"max by (exporter) ({alerts.QUEUE_SIZE} / {alerts.QUEUE_CAPACITY})"
# What was not taken, or not sent, by what it was; the Collector has a series once there was one.
_LOST = {
    f"{what.replace('_', ' ')} {things.replace('_', ' ')}": f"otelcol_{what}_{things}_total"
    for what in (
        "receiver_refused",
        "receiver_failed",
        "exporter_send_failed",
        "exporter_enqueue_failed",
    )
    for things in ("spans", "metric_points")
}
_STORAGE = promql.series(names.STORAGE_SIZE, "By")
_MEMORY = "otelcol_process_memory_rss_bytes"
_CPU = "otelcol_process_cpu_seconds_total"
# Of the Collector itself.
_INTERVAL = "10s"


def page(_table: Targets) -> Page:
    """From the spool through the Collector to Prometheus and Tempo."""
    settings = alerting.load()
    return Page(
        name="pipeline",
        title="Pipeline",
        description="From the spool through the Collector to Prometheus and Tempo: alive, fast "
        "enough, complete.",
        rows=(
            Row(
                height=4,
                panels=(
                    (6, _silent(settings)),
                    (6, _filled(settings)),
                    (6, _lost()),
                    (6, _spool()),
                ),
            ),
            Row(height=8, panels=((8, _read()), (8, _sent()), (8, _queue(settings)))),
            Row(height=8, panels=((8, _losses()), (8, _files()), (8, _series()))),
            Row(height=8, panels=((12, _cpu()), (12, _memory()))),
        ),
    )


def _silent(settings: Settings) -> Panel:
    silent_s = promql.seconds(settings.pipeline["silent"])
    text = Text(
        "Last sign of the Collector",
        "How long ago it last reported about itself; it does so every 10 s.",
        _NO_COLLECTOR,
    )
    expr = f"time() - max(timestamp({_MEMORY}))"
    steps: grading.Steps = [(None, grading.OK), (silent_s, grading.MISS)]
    return panels.number(text, queries.now("A", expr), unit=units.SECONDS, decimals=0, steps=steps)


def _queue_steps(settings: Settings) -> grading.Steps:
    pipeline = settings.pipeline
    return [
        (None, grading.OK),
        (pipeline["filled"], grading.WARN),
        (pipeline["full"], grading.MISS),
    ]


def _filled(settings: Settings) -> Panel:
    text = Text(
        "Fullest queue",
        "When a queue is full, reading the spool waits; nothing is lost.",
        _NO_COLLECTOR,
    )
    query = queries.now("A", f"max({_QUEUED})")
    return panels.number(text, query, unit=units.SHARE, decimals=0, steps=_queue_steps(settings))


def _lost() -> Panel:
    text = Text(
        "Refused or failed",
        "Spans and points that the Collector could not take or send, over this time range. What "
        "the programs themselves lost is in `orchwatch doctor`.",
        _NO_COLLECTOR,
    )
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    expr = f"sum({_lost_in('$__range')})"
    return panels.number(text, queries.now("A", expr), unit=units.NUMBER, decimals=0, steps=steps)


def _spool() -> Panel:
    text = Text(
        "Stored on this disk",
        "The spool and what it was compacted into.",
        "needs orchwatch monitor",
    )
    query = queries.now("A", queries.latest(_STORAGE))
    return panels.number(text, query, unit=units.BYTES, decimals=1)


def _lost_in(window: str) -> str:
    """A name would not tell them apart: `increase` drops it."""
    return " or ".join(
        f'label_replace(increase({series}[{window}]), "what", "{what}", "", "")'
        for what, series in _LOST.items()
    )


def _rate(name: str, by: str) -> str:
    matched = f'{{__name__=~"otelcol_{name}_(spans|metric_points)_total"}}'
    return f"sum by ({by}) (rate({matched}[$__rate_interval]))"


def _lines(ref: str, expr: str, legend: str) -> panels.Query:
    return queries.lines(ref, expr, legend).interval(_INTERVAL)


def _read() -> Panel:
    text = Text(
        "Read from the spool and received",
        "Spans and points a second, by where they came from.",
        _NO_COLLECTOR,
    )
    query = _lines("A", _rate("receiver_accepted", "receiver"), "{{receiver}}")
    return panels.graph(text, query, unit=units.A_SECOND, decimals=1)


def _sent() -> Panel:
    text = Text(
        "Sent to Tempo and Prometheus",
        "Spans and points a second that were acknowledged.",
        _NO_COLLECTOR,
    )
    query = _lines("A", _rate("exporter_sent", "exporter"), "{{exporter}}")
    return panels.graph(text, query, unit=units.A_SECOND, decimals=1)


def _queue(settings: Settings) -> Panel:
    text = Text(
        "How full the queues are",
        "What waits for Tempo or Prometheus, as a share of its queue. The dashed lines are the "
        "limits of the alerts.",
        _NO_COLLECTOR,
    )
    query = _lines("A", _QUEUED, "{{exporter}}")
    return panels.graph(text, query, unit=units.SHARE, decimals=0, steps=_queue_steps(settings))


def _losses() -> Panel:
    text = Text(
        "Refused or failed over time",
        "By the part of the Collector, and what it could not take or send.",
        "nothing refused yet",
    )
    expr = f"sum by (what) ({_lost_in('$__rate_interval')})"
    query = _lines("A", expr, "{{what}}")
    return panels.bars(panels.graph(text, query, unit=units.NUMBER, decimals=0))


def _files() -> Panel:
    text = Text(
        "Spool files being read",
        "Open and actively read segments of the spool.",
        _NO_COLLECTOR,
    )
    return panels.graph(
        text,
        _lines("A", "max(otelcol_fileconsumer_open_files)", "open"),
        _lines("B", "max(otelcol_fileconsumer_reading_files)", "being read"),
        unit=units.NUMBER,
        decimals=0,
    )


def _series() -> Panel:
    text = Text(
        "Series of operations",
        "How many series each service's operations have in Prometheus: it should not grow with "
        "the number of operations.",
        "no operation yet",
    )
    expr = f"count by ({queries.SERVICE}) ({DURATION}_count)"
    query = queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}")
    return panels.graph(text, query, unit=units.NUMBER, decimals=0)


def _cpu() -> Panel:
    text = Text("CPU of the Collector", "1 is one processor.", _NO_COLLECTOR)
    query = _lines("A", f"sum(rate({_CPU}[$__rate_interval]))", "collector")
    return panels.graph(text, query, unit=units.NUMBER, decimals=2)


def _memory() -> Panel:
    text = Text("Memory of the Collector", "Resident memory.", _NO_COLLECTOR)
    query = _lines("A", f"max({_MEMORY})", "collector")
    return panels.graph(text, query, unit=units.BYTES, decimals=1)
