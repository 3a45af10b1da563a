"""Alerts about messages between agents, from what the bus says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.rule import AlertRule, Case, NoRow
from orchwatch.mixin.rules import samples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.mixin.lib.alerting import Settings

TOPIC = semconv.MESSAGE_TOPIC.replace(".", "_")
SENT, DELIVERED, LATE, LOST, DEAD = (
    promql.series(name, "{message}", counter=True)
    for name in (
        semconv.MESSAGE_SENT,
        semconv.MESSAGE_DELIVERED,
        semconv.MESSAGE_LATE,
        semconv.MESSAGE_LOST,
        semconv.MESSAGE_DEAD,
    )
)
UNREAD_AGE = promql.series(semconv.MESSAGE_UNREAD_AGE, "s")
_MINUTES = 20
_LABELS = {TOPIC: "builds"}
_SELECTED = promql.selector(**_LABELS)


def alerts(settings: Settings) -> list[AlertRule]:
    """Alerts about unread messages, then about dead letters."""
    return [_unread(settings), _given_up(settings)]


def _unread(settings: Settings) -> AlertRule:
    unread = settings.messages["unread"]
    unread_s = promql.seconds(unread)
    series = f"{UNREAD_AGE}{_SELECTED}"
    return AlertRule(
        name="MessagesUnread",
        row=NoRow(
            title="Oldest unread message",
            severity="warning",
            recommendation="See whether the agents that should read it run, and which of their "
            "operations take long; start more readers of that mailbox",
        ),
        kind="pattern",
        symptom="messages",
        # Each bus sets the same series: the worst of the last minutes' is one of them.
        expr=f"max by ({TOPIC}) (max_over_time({UNREAD_AGE}[{settings.messages['window']}]))"
        f" > {unread_s}",
        for_=settings.hold,
        summary=f"A message of {{{{ $labels.{TOPIC} }}}} was sent "
        "{{ $value | humanizeDuration }} ago and is not acknowledged",
        dashboard=level_series.AGENTS_DASHBOARD,
        meaning="A message waits in a mailbox, or an agent works on it all this time. Behind it "
        "waits what else its sender has sent there.",
        limit=f"acknowledged within {unread}",
        look=UNREAD_AGE,
        command="orchwatch current",
        labels=_LABELS,
        firing=_case({series: samples.growing(0, 60, _MINUTES)}),
        silent=_case({series: samples.constant(unread_s * samples.SHORT, _MINUTES)}),
    )


def _given_up(settings: Settings) -> AlertRule:
    window = settings.messages["window"]
    grows, stays = samples.growing(0, 1, _MINUTES), samples.constant(3, _MINUTES)
    # `increase` drops the counters' names, by which alone they differ.
    each = "\nor\n".join(
        f'label_replace(increase({name}[{window}]), "of", "{name}", "", "")'
        for name in (DEAD, LOST)
    )
    gone = f"sum by ({TOPIC}) (\n{each}\n)"
    return AlertRule(
        name="MessagesGivenUp",
        row=NoRow(
            title="Messages that were given up",
            severity="critical",
            recommendation="Read the dead letters with their errors (`MessageBus.dead_letters()`), "
            "mend what handles them, and send them again",
        ),
        kind="pattern",
        symptom="messages",
        expr=f"{gone} > 0",
        summary=f'{{{{ printf "%.0f" $value }}}} messages of {{{{ $labels.{TOPIC} }}}} were given '
        f"up within {window}",
        dashboard=level_series.AGENTS_DASHBOARD,
        meaning="Messages failed in every try and are dead letters, or their mailbox was removed "
        "before they were read. They will not be handled.",
        limit="none",
        look=gone,
        command="orchwatch current",
        labels=_LABELS,
        firing=_case({f"{name}{_SELECTED}": grows for name in (DEAD, LOST)}),
        silent=_case({f"{name}{_SELECTED}": stays for name in (DEAD, LOST)}),
    )


def _case(series: Mapping[str, str]) -> Case:
    return Case(series=series, at=f"{_MINUTES}m")
