"""What carries operations to Prometheus and Tempo: is everything arriving, and if not, where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin.alerts import pipeline as alerts
from orchwatch.mixin.alerts import pipeline_spool
from orchwatch.mixin.alerts.pipeline_spool import AGE, LIMIT, LOST, REASON, SIZE, UNREAD
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import alerting, promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_NO_COLLECTOR = "no sign of the Collector"
_NO_MONITOR = "needs orchwatch monitor"
_NOT_FETCHED = "not fetched by Prometheus"
_MEMORY = "otelcol_process_memory_rss_bytes"
_RESIDENT = "process_resident_memory_bytes"
_PROMETHEUS, _TEMPO = '{job="prometheus"}', '{job="tempo"}'
_ALERTMANAGER = '{job="alertmanager"}'
_TO_PROMETHEUS, _TO_TEMPO = "otlp_http/prometheus", "otlp_http/tempo"
# How often the Collector reports about itself, and servers are fetched.
_INTERVAL = "15s"
_RED = {"mode": "fixed", "fixedColor": grading.MISS}
_RIGHT = {"custom.axisPlacement": "right"}


def page(_table: Targets) -> Page:
    """From the spool through the Collector to Prometheus and Tempo."""
    settings = alerting.load()
    return Page(
        name="pipeline",
        title="Pipeline",
        description="From the spool through the Collector to Prometheus and Tempo: is everything "
        "arriving, does it keep up, was anything lost?",
        rows=(
            Row(
                height=4,
                panels=(
                    (5, _arriving()),
                    (9, _answering(settings)),
                    (5, _waiting(settings)),
                    (5, _lost(settings)),
                ),
            ),
            Row(height=8, panels=((14, _spool(settings)), (10, _losses()))),
            Section(
                title="The Collector, and what the servers hold in memory",
                rows=(
                    Row(height=10, panels=((8, _flow()), (7, _queues(settings)), (9, _memory()))),
                ),
            ),
            Section(
                title="Inside Prometheus and Tempo",
                rows=(Row(height=8, panels=((8, _samples()), (8, _storage()), (8, _tempo()))),),
                folded=True,
            ),
        ),
    )


def _arriving() -> Panel:
    text = Text(
        "Is all arriving?",
        "No while a critical alert about the pipeline fires, late while a warning does. The "
        "overview names them; docs/runbook.md says what to do.",
        _NO_COLLECTOR,
    )
    firing = 'max(ALERTS{{kind="pipeline",alertstate="firing",severity="{}"}})'
    alert, late = (firing.format(severity) for severity in ("critical", "warning"))
    expr = f"{alert} * 2\nor\n{late}\nor\nmax({_MEMORY}) * 0"
    panel = panels.number(text, queries.now("A", expr), unit=units.NUMBER, decimals=0)
    words = {0: ("yes", grading.OK), 1: ("late", grading.WARN), 2: ("no", grading.MISS)}
    return panel.mappings([grading.words(words), grading.unmeasured(text.empty)])


def _answering(settings: Settings) -> Panel:
    silent_s = promql.seconds(settings.pipeline["silent"])
    text = Text(
        "Who answers",
        f"The Collector reports about itself every 10 s and is away after {silent_s} s; Prometheus "
        "fetches the others. Operations are recorded, and arrive, without the monitor process too.",
        _NOT_FETCHED,
    )
    reported = f"max(timestamp({_MEMORY})) > bool time() - {silent_s} or vector(0)"
    panel = panels.number(
        text,
        queries.now("A", reported, "Collector"),
        queries.now("B", f"max(up{_PROMETHEUS})", "Prometheus"),
        queries.now("C", f"max(up{_TEMPO})", "Tempo"),
        queries.now("D", f"max({pipeline_spool.UP})", "Monitor"),
        queries.now("E", f"max(up{_ALERTMANAGER})", "Alertmanager"),
        unit=units.NUMBER,
        decimals=0,
    )
    up, down, off = ("up", grading.OK), ("down", grading.MISS), ("off", grading.UNKNOWN)
    unmeasured = grading.unmeasured("?")
    panel.mappings([grading.words({0: down, 1: up}), unmeasured])
    return panels.of_query(panel, "D", mappings=[grading.words({0: off, 1: up}), unmeasured])


def _waiting(settings: Settings) -> Panel:
    text = Text(
        "Oldest unread",
        "How long ago the first thing in the spool happened that the Collector has not read; 0 "
        "when it has read everything.",
        _NO_MONITOR,
    )
    behind_s = promql.seconds(settings.pipeline["behind"])
    steps: grading.Steps = [(None, grading.OK), (behind_s, grading.WARN)]
    query = queries.now("A", f"max({AGE})")
    return panels.number(text, query, unit=units.SECONDS, decimals=0, steps=steps)


def _lost(settings: Settings) -> Panel:
    text = Text(
        "Lost or refused",
        "Over this time range: what programs could not append, what the spool dropped unread, what "
        "the Collector refused or gave up, what Tempo discarded.",
        "nothing reported",
    )
    counters = [*alerts.REFUSED, alerts.DISCARDED]
    lost = [_apart(f"increase({one}[$__range])", one) for one in counters]
    lost += [
        f"increase({pipeline_spool.UNWRITTEN}[$__range])",
        f"sum_over_time(({pipeline_spool.dropped_unread(settings, '1m')})[$__range:1m])",
    ]
    query = queries.now("A", f"sum({' or '.join(lost)})")
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    return panels.number(text, query, unit=units.NUMBER, decimals=0, steps=steps)


def _apart(expr: str, counter: str) -> str:
    """What `rate` and `increase` answer has no name, which alone tells some counters apart."""
    return f'label_replace({expr}, "counter", "{counter}", "", "")'


def _spool(settings: Settings) -> Panel:
    near = promql.number(settings.pipeline["near"])
    text = Text(
        "The spool against its budget",
        "Lines that were read stay until the budget is full, and then the oldest go: a full disk "
        "share is no harm. What is not read must stay below the dashed lines: the alert's, and the "
        "budget.",
        _NO_MONITOR,
    )
    panel = panels.graph(
        text,
        _lines("A", f"sum({SIZE})", "on disk"),
        _lines("B", f"sum({UNREAD})", "not read yet"),
        _lines("C", f"max({LIMIT}) * {near}", "alert"),
        _lines("D", f"max({LIMIT})", "budget"),
        unit=units.BYTES,
        decimals=None,
    )
    return panels.limit_line(panels.limit_line(panel, "C", grading.WARN), "D", grading.MISS)


def _losses() -> Panel:
    text = Text(
        "Lost or ignored by programs, by reason",
        "What the ledger of this home directory has counted; the monitor process reads it. `bad_…` "
        "are values that a program passed wrongly; budget_dropped lines are lost only if the "
        "Collector had not read them. `orchwatch doctor` says what to do.",
        "nothing was lost that a monitor process knows of",
    )
    ever = f"sum by ({REASON}) ({LOST}) > 0"
    panel = panels.rows(
        text,
        queries.rows("range", f"sum by ({REASON}) (increase({LOST}[$__range])) and {ever}"),
        queries.rows("ever", ever),
        transformations=[
            panels.transform("merge"),
            *panels.chosen(
                {REASON: "Reason", "Value #range": "In this time", "Value #ever": "Ever"}, "Ever"
            ),
        ],
    )
    panels.column(panel, "In this time", **{"custom.width": 110})
    return panels.column(panel, "Ever", **{"custom.width": 80})


def _lines(ref: str, expr: str, legend: str) -> panels.Query:
    return queries.lines(ref, expr, legend).interval(_INTERVAL)


def _rate(*counters: str, exporter: str = "") -> str:
    chosen = promql.selector(exporter=exporter) if exporter else ""
    rates = " or ".join(_apart(f"rate({one}{chosen}[$__rate_interval])", one) for one in counters)
    return f"sum({rates})"


def _flow() -> Panel:
    text = Text(
        "Spans and points a second",
        "Through the Collector: read from the spool or received, acknowledged by Tempo and by "
        "Prometheus, and those refused or failed, if any. Counting makes few points of many spans.",
        _NO_COLLECTOR,
    )
    panel = panels.graph(
        text,
        _lines("A", _rate(*alerts.ACCEPTED), "received"),
        _lines("B", _rate(*alerts.SENT, exporter=_TO_TEMPO), "to Tempo"),
        _lines("C", _rate(*alerts.SENT, exporter=_TO_PROMETHEUS), "to Prometheus"),
        _lines("D", f"{_rate(*alerts.REFUSED)} > 0", "refused or failed"),
        unit=units.NUMBER,
        decimals=None,
    )
    return panels.of_query(panel, "D", color=_RED)


def _queues(settings: Settings) -> Panel:
    text = Text(
        "How full the queues are",
        "What waits for Tempo or Prometheus, as a share of its queue. A full one makes the spool "
        "wait; the dashed lines are the limits of the alerts.",
        _NO_COLLECTOR,
    )
    filled, full = (settings.pipeline[limit] for limit in ("filled", "full"))
    steps: grading.Steps = [(None, grading.OK), (filled, grading.WARN), (full, grading.MISS)]
    return panels.graph(
        text,
        _lines("A", _filled(_TO_TEMPO), "to Tempo"),
        _lines("B", _filled(_TO_PROMETHEUS), "to Prometheus"),
        unit=units.SHARE,
        decimals=0,
        steps=steps,
    )


def _filled(exporter: str) -> str:
    chosen = promql.selector(exporter=exporter)
    return f"max({alerts.QUEUE_SIZE}{chosen} / {alerts.QUEUE_CAPACITY}{chosen})"


def _memory() -> Panel:
    return panels.graph(
        Text("Memory of the servers", "Resident memory.", _NO_COLLECTOR),
        _lines("A", f"max({_MEMORY})", "Collector"),
        _lines("B", f"max({_RESIDENT}{_PROMETHEUS})", "Prometheus"),
        _lines("C", f"max({_RESIDENT}{_TEMPO})", "Tempo"),
        _lines("D", f"max({_RESIDENT}{_ALERTMANAGER})", "Alertmanager"),
        unit=units.BYTES,
        decimals=None,
    )


def _samples() -> Panel:
    text = Text(
        "Prometheus: samples a second",
        "Taken and, if any, refused, and how many series it holds (right). It refuses what is "
        "older than it takes, such as what a Collector sends twice after it was killed.",
        _NOT_FETCHED,
    )
    refused = " + ".join(
        f"sum(rate(prometheus_tsdb_{why}_samples_total[$__rate_interval]))"
        for why in ("out_of_order", "too_old", "out_of_bound")
    )
    panel = panels.graph(
        text,
        _lines("A", _rate("prometheus_tsdb_head_samples_appended_total"), "taken"),
        _lines("B", f"{refused} > 0", "refused"),
        _lines("C", "max(prometheus_tsdb_head_series)", "series in memory"),
        unit=units.NUMBER,
        decimals=None,
    )
    panels.of_query(panel, "B", color=_RED)
    return panels.of_query(panel, "C", **_RIGHT)


def _storage() -> Panel:
    text = Text(
        "Prometheus: storage",
        "Blocks, log and the newest samples on disk. The dashed line is its cap, where one is set: "
        "beyond it the oldest blocks go.",
        _NOT_FETCHED,
    )
    parts = ("storage_blocks", "wal_storage_size", "head_chunks_storage_size")
    stored = " + ".join(f"prometheus_tsdb_{part}_bytes" for part in parts)
    panel = panels.graph(
        text,
        _lines("A", f"max({stored})", "stored"),
        _lines("B", "max(prometheus_tsdb_retention_limit_bytes) > 0", "cap"),
        unit=units.BYTES,
        decimals=None,
    )
    return panels.limit_line(panel, "B", grading.WARN)


def _tempo() -> Panel:
    text = Text(
        "Tempo: spans a second",
        "Received and, if any, discarded, and the blocks that they are stored in (right). It "
        "discards what exceeds its limits, and says so in its log.",
        _NOT_FETCHED,
    )
    panel = panels.graph(
        text,
        _lines("A", _rate("tempo_distributor_spans_received_total"), "received"),
        _lines("B", f"{_rate(alerts.DISCARDED)} > 0", "discarded"),
        _lines("C", "sum(tempodb_blocklist_length)", "blocks on disk"),
        unit=units.NUMBER,
        decimals=None,
    )
    panels.of_query(panel, "B", color=_RED)
    return panels.of_query(panel, "C", **_RIGHT)
