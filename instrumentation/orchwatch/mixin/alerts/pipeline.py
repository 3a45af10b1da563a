"""Alerts about what carries the operations: spool, Collector, and whether anything arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin.alerts import pipeline_spool
from orchwatch.mixin.alerts.pipeline_alert import MINUTES, Text, alert
from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import DURATION, number
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets

# What Tempo took and did not keep.
DISCARDED = "tempo_discarded_spans_total"
# What Prometheus could not hand to Alertmanager, and Alertmanager to its receivers.
NOT_SENT = "prometheus_notifications_errors_total"
NOT_QUEUED = "prometheus_notifications_dropped_total"
NOT_NOTIFIED = "alertmanager_notifications_failed_total"
# The Collector's own metrics, as Prometheus has them (Collector 0.158).
UPTIME = "otelcol_process_uptime_seconds_total"
QUEUE_SIZE = "otelcol_exporter_queue_size"
QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
_ITEMS = ("spans", "metric_points")
_HOW = ["receiver_refused", "receiver_failed", "exporter_send_failed", "exporter_enqueue_failed"]
ACCEPTED = [f"otelcol_receiver_accepted_{items}_total" for items in _ITEMS]
SENT = [f"otelcol_exporter_sent_{items}_total" for items in _ITEMS]
REFUSED = [f"otelcol_{how}_{items}_total" for how in _HOW for items in _ITEMS]
_EXPORTER = {"exporter": "otlp_http/tempo"}
_CAPACITY = 1000
_SENDING = samples.growing(0, 100, MINUTES)


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """The watchdog first."""
    return [
        _watchdog(),
        _collector_down(settings),
        _queue_filling(settings),
        _queue_full(settings),
        _exports_stalled(settings),
        *pipeline_spool.alerts(settings),
        _telemetry_lost(settings),
        _series_overflow(settings),
        _no_operations(table, settings),
        _alerts_undelivered(settings),
    ]


def _any_of(by: str, names: list[str], window: str) -> str:
    """Those of several counters that grew; in one selector nothing would distinguish them."""
    return "\nor\n".join(f"sum by ({by}) (increase({name}[{window}])) > 0" for name in names)


def _watchdog() -> AlertRule:
    return alert(
        "Watchdog",
        "info",
        "vector(1)",
        Text(
            title="Alerting works",
            summary="Always fires: when it is missing, alerts do not arrive",
            meaning="Fires all the time, so that a receiver which expects it notices when "
            "Prometheus or Alertmanager is down.",
            limit="always fires",
            recommendation="Nothing to do while it fires; when it is missing, start Prometheus "
            "and Alertmanager",
            look='ALERTS{alertname="Watchdog"}',
        ),
        cases=({}, {}),
    )


def _collector_down(settings: Settings) -> AlertRule:
    silent = settings.pipeline["silent"]
    return alert(
        "CollectorDown",
        "critical",
        f"absent_over_time({UPTIME}[{silent}])",
        Text(
            title="Collector",
            summary=f"The Collector has sent nothing about itself for {silent}",
            meaning="Nothing carries operations into Prometheus and Tempo. Operations are still "
            "appended to the spool and arrive once it runs again.",
            limit=f"a sign of life every {silent}",
            recommendation="Start the Collector and read the last lines of its log",
            look=UPTIME,
        ),
        for_=silent,
        cases=(
            {UPTIME: f"{samples.growing(0, 60, 5)} _x{MINUTES}"},
            {UPTIME: samples.growing(0, 60, MINUTES)},
        ),
    )


def _queue_series(size: str, sent: str = _SENDING) -> dict[str, str]:
    labels = promql.selector(**_EXPORTER)
    return {
        f"{QUEUE_SIZE}{labels}": size,
        f"{QUEUE_CAPACITY}{labels}": samples.constant(_CAPACITY, MINUTES),
        f"otelcol_exporter_sent_spans_total{labels}": sent,
    }


def _queue_filling(settings: Settings) -> AlertRule:
    filled = settings.pipeline["filled"]
    horizon = settings.prediction["horizon"]
    share = f"{QUEUE_SIZE} / {QUEUE_CAPACITY}"
    window = settings.pipeline["window"]
    later = f"predict_linear({QUEUE_SIZE}[{window}], {promql.seconds(horizon)})"
    return alert(
        "QueueFilling",
        "warning",
        f"max by (exporter) (\n  {share} > {number(filled)}\n  and {later} > {QUEUE_CAPACITY}\n)",
        Text(
            title="Queue of an exporter",
            summary="The queue of {{ $labels.exporter }} is "
            "{{ $value | humanizePercentage }} full and growing",
            meaning="More arrives than the server behind the exporter takes. Nothing is lost: a "
            "full queue makes the spool wait.",
            limit=f"≤ {number(filled * 100)}% full",
            recommendation="See whether Tempo or Prometheus is down or short of CPU",
            look=share,
        ),
        labels=_EXPORTER,
        cases=(
            _queue_series(samples.growing(0, filled * 2 * _CAPACITY / MINUTES, MINUTES)),
            _queue_series(samples.constant(filled * samples.BEYOND * _CAPACITY, MINUTES)),
        ),
    )


def _queue_full(settings: Settings) -> AlertRule:
    full = settings.pipeline["full"]
    return alert(
        "QueueFull",
        "warning",
        f"max by (exporter) ({QUEUE_SIZE} / {QUEUE_CAPACITY}) >= {number(full)}",
        Text(
            title="Queue of an exporter",
            summary="The queue of {{ $labels.exporter }} is "
            "{{ $value | humanizePercentage }} full: reading the spool waits",
            meaning="The Collector has stopped reading the spool until there is room in its "
            "queue. What is not read yet stays on the disk, up to the spool's budget.",
            limit=f"< {number(full * 100)}% full",
            recommendation="Bring the server behind the exporter back before the spool reaches its "
            "budget (ORCHWATCH_SPOOL_BUDGET_BYTES)",
            look=f"{QUEUE_SIZE} / {QUEUE_CAPACITY}",
        ),
        for_=settings.hold,
        labels=_EXPORTER,
        cases=(
            _queue_series(samples.constant(full * _CAPACITY, MINUTES)),
            _queue_series(samples.constant(full * samples.SHORT * _CAPACITY, MINUTES)),
        ),
    )


def _exports_stalled(settings: Settings) -> AlertRule:
    window = settings.pipeline["window"]
    # An export that is tried again and again counts as neither sent nor failed.
    # One that has just started has not had the time.
    waiting = (
        f"max by (exporter) (min_over_time({QUEUE_SIZE}[{window}])"
        f" and {QUEUE_SIZE} offset {window}) > 0"
    )
    sent = _any_of("exporter", SENT, window)
    return alert(
        "ExportsStalled",
        "critical",
        f"{waiting}\nunless (\n  {sent}\n)",
        Text(
            title="Exports",
            summary="{{ $labels.exporter }} has sent nothing for "
            f'{window} while {{{{ printf "%.0f" $value }}}} requests wait',
            meaning="Every attempt to send fails and is repeated. Traces (Tempo) or metrics "
            "(Prometheus) are not up to date; they arrive once the server takes them.",
            limit=f"one success in {window}",
            recommendation="Start the server behind the exporter and read its log",
            look=sent,
        ),
        labels=_EXPORTER,
        cases=(
            _queue_series(samples.constant(100, MINUTES), samples.constant(500, MINUTES)),
            _queue_series(samples.constant(100, MINUTES), samples.growing(500, 1, MINUTES)),
        ),
    )


def _telemetry_lost(settings: Settings) -> AlertRule:
    window = settings.pipeline["window"]
    lost = _any_of("receiver, exporter, job", [*REFUSED, DISCARDED], window)
    series = [f'{name}{{receiver="otlp"}}' for name in REFUSED[:2]]
    return alert(
        "TelemetryLost",
        "critical",
        lost,
        Text(
            title="Refused or dropped spans and points",
            summary='{{ printf "%.0f" $value }} spans or points were refused or dropped by '
            f"{{{{ or $labels.receiver $labels.exporter $labels.job }}}} within {window}",
            meaning="The Collector refused what was sent to it, or gave up on sending it on, or "
            "Tempo discarded what it had taken. Clients keep what was refused and send it again; "
            "the rest is lost.",
            limit="none",
            recommendation="Run `orchwatch audit`: it names what is missing and sends it again",
            look=lost,
        ),
        labels={"receiver": "otlp"},
        cases=(
            dict.fromkeys(series, samples.growing(0, 1, MINUTES)),
            dict.fromkeys(series, samples.constant(7, MINUTES)),
        ),
    )


def _series_overflow(settings: Settings) -> AlertRule:
    window = settings.pipeline["window"]
    overflow = f'{DURATION}_count{{otel_metric_overflow="true"}}'
    return alert(
        "SeriesOverflow",
        "warning",
        f"sum by (service_name) (increase({overflow}[{window}])) > 0",
        Text(
            title="Combinations of labels",
            summary='{{ printf "%.0f" $value }} operations of {{ $labels.service_name }} within '
            f"{window} were counted without their names",
            meaning="A service has so many names of operations or errors that the Collector adds "
            "up the rest; those miss in every figure.",
            limit="none",
            recommendation="Find the operation name or error type that holds an id or a text, and "
            "make it constant",
            look=overflow,
        ),
        labels={"service_name": "a"},
        cases=(
            {f'{overflow[:-1]},service_name="a"}}': samples.growing(0, 1, MINUTES)},
            {f'{DURATION}_count{{service_name="a"}}': samples.growing(0, 1, MINUTES)},
        ),
    )


def _no_operations(table: Targets, settings: Settings) -> AlertRule:
    idle = settings.pipeline["idle"]
    operation = next(iter(table.operations.values()))
    runs = [({operation.target_s: 1.0}, MINUTES)]
    return alert(
        "NoOperations",
        "info",
        f"(sum({recording.ENDED}{idle}) or vector(0)) == 0",
        Text(
            title="Operations",
            summary=f"No operation at all has arrived within {idle}",
            meaning="Nothing that is watched has run, or nothing of it arrives. Every share is "
            "absent and no target can be missed.",
            limit=f"one in {idle}",
            recommendation="Run `orchwatch doctor`; `orchwatch demo` shows whether operations "
            "arrive",
            look=f"{recording.ENDED}{idle}",
        ),
        for_=settings.hold,
        cases=({}, samples.histogram(table, operation.id, runs)),
    )


def _alerts_undelivered(settings: Settings) -> AlertRule:
    window = settings.pipeline["window"]
    to_alertmanager = _any_of("alertmanager", [NOT_SENT, NOT_QUEUED], window)
    to_people = f"sum by (integration) (increase({NOT_NOTIFIED}[{window}])) > 0"
    # While the monitor process is away, which has an alert of its own, Alertmanager tries again.
    undelivered = f"(\n{promql.indented(to_people)}\n) and on () max({pipeline_spool.UP}) == 1"
    sender = "alertmanager"
    return alert(
        "AlertsUndelivered",
        "warning",
        f"{to_alertmanager}\nor\n{undelivered}",
        Text(
            title="Delivery of alerts",
            summary=f'{{{{ printf "%.0f" $value }}}} times within {window} alerts did not arrive',
            meaning="Prometheus could not hand alerts to Alertmanager, or Alertmanager could not "
            "notify its receivers. Either retries, as long as it runs.",
            limit=f"none in {window}",
            recommendation="Start Alertmanager, read the last lines of its log, and send a test "
            "alert to the receiver that its log names",
            look=f"sum(increase({NOT_SENT}[{window}]))",
        ),
        labels={sender: "a"},
        cases=(
            {f'{NOT_SENT}{{{sender}="a"}}': samples.growing(0, 1, MINUTES)},
            {f'{NOT_SENT}{{{sender}="a"}}': samples.constant(3, MINUTES)},
        ),
    )
