"""The pipeline's own figures in Prometheus' text format, which it fetches from this process.

Nothing else is exported this way. These figures describe what passes through the Collector, and so
must arrive without it. The ledger of losses outlives processes, so it is a counter that never
restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.lib import promql
from orchwatch.monitor.route import Response, Route
from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchwatch.diagnosis.spool_backlog import Backlog

PATH = "/metrics"

_KIND = "text/plain; version=0.0.4; charset=utf-8"
_OTHER = "other"


def route(newest: Callable[[], bytes]) -> Route:
    """The route that Prometheus scrapes; open to every user of this machine, for sizes and counts.

    Args:
        newest: What `text` returned last.
    """
    return Route(method="GET", take=lambda _: Response(body=newest(), kind=_KIND))


def text(backlogs: Sequence[Backlog], limit_bytes: int, lost: Mapping[str, int]) -> bytes:
    """The figures as text; an unknown one has no line.

    Args:
        backlogs: The backlog of each family.
        limit_bytes: The spool's budget.
        lost: Counts of the ledger; reasons that never occurred are 0, so that their first increase
            shows.
    """
    by_reason = dict.fromkeys((*losses.REASONS, _OTHER), 0)
    for reason, number in lost.items():
        # A ledger may have lines of another version, or ones that another program wrote.
        by_reason[reason if reason in by_reason else _OTHER] += number
    sizes = {one.family: one.size_bytes for one in backlogs}
    unread = {one.family: one.unread_bytes for one in backlogs}
    ages = {one.family: one.age_s for one in backlogs}
    lines = [
        *_metric(
            semconv.SPOOL_SIZE, "By", "Size of the spool.", _labelled(semconv.SPOOL_FAMILY, sizes)
        ),
        *_metric(semconv.SPOOL_LIMIT, "By", "What the spool may grow to.", {"": limit_bytes}),
        *_metric(
            semconv.SPOOL_UNREAD,
            "By",
            "What the Collector has not read.",
            _labelled(semconv.SPOOL_FAMILY, unread),
        ),
        *_metric(
            semconv.SPOOL_UNREAD_AGE,
            "s",
            "Age of the first thing that the Collector has not read.",
            _labelled(semconv.SPOOL_FAMILY, ages),
        ),
        *_metric(
            semconv.TELEMETRY_LOST,
            "{item}",
            "What was lost or ignored, since this home directory exists.",
            _labelled(semconv.LOSS_REASON, by_reason),
            counter=True,
        ),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _labelled(attribute: str, values: Mapping[str, float | None]) -> dict[str, float]:
    label = attribute.replace(".", "_")
    return {
        promql.selector(**{label: text}): value
        for text, value in values.items()
        if value is not None
    }


def _metric(
    name: str, unit: str, meaning: str, values: Mapping[str, float], *, counter: bool = False
) -> list[str]:
    series = promql.series(name, unit, counter=counter)
    return [
        f"# HELP {series} {meaning}",
        f"# TYPE {series} {'counter' if counter else 'gauge'}",
        *(f"{series}{labels} {promql.number(value)}" for labels, value in values.items()),
    ]
