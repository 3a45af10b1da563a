"""Messages between agents, part of the page of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin.alerts.messages import (
    DEAD,
    DELIVERED,
    LATE,
    LOST,
    SENT,
    TOPIC,
    UNREAD_AGE,
)
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import Row, Section
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import alerting, promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel

_NONE = "no message bus in this time range"


def section() -> Section:
    """How many messages there were, and how long the oldest has waited."""
    return Section(
        title="Messages between agents",
        rows=(Row(height=8, panels=((12, _flow()), (12, _unread()))),),
        folded=True,
    )


def _flow() -> Panel:
    text = Text(
        "Messages a second, by what became of them",
        "Over all topics; what goes to several mailboxes counts for each. Late: handed out later "
        "than the target of message.deliver. Given up: dead letters, and what was unread in a "
        "mailbox that was removed.",
        _NONE,
    )
    given_up = " or ".join(
        f'label_replace({_rate(one)}, "of", "{one}", "", "")' for one in (DEAD, LOST)
    )
    return panels.graph(
        text,
        queries.lines("A", f"sum({_rate(SENT)})", "sent"),
        queries.lines("B", f"sum({_rate(DELIVERED)})", "acknowledged"),
        queries.lines("C", f"sum({_rate(LATE)})", "late"),
        queries.lines("D", f"sum({given_up})", "given up"),
        unit=units.NUMBER,
        decimals=None,
    )


def _rate(counter: str) -> str:
    return f"rate({counter}[$__rate_interval])"


def _unread() -> Panel:
    text = Text(
        "Oldest unread message, by topic",
        "How long ago the oldest message was sent that nobody has acknowledged, as the bus said "
        "last. Nothing is drawn where there is none.",
        _NONE,
    )
    unread_s = promql.seconds(alerting.load().messages["unread"])
    query = queries.lines("A", f"max by ({TOPIC}) ({UNREAD_AGE})", f"{{{{{TOPIC}}}}}")
    steps: grading.Steps = [(None, grading.OK), (unread_s, grading.WARN)]
    return panels.graph(
        text, query, unit=units.SECONDS, decimals=None, steps=steps, logarithmic=True
    )
