"""Alertmanager's notifications, as its receiver `webhook` posts them, into the event stream.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config (version 4).
Alertmanager sends again what was answered by 5xx or not at all, and what still fires every now and
then; what is answered by 4xx it gives up.
"""

from __future__ import annotations

import json
import logging
import math
import os
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchwatch.analysis.alert_events import ALERTMANAGER, AlertEvent
from orchwatch.monitor.route import Response, Route
from orchwatch.recording import losses, secret_file
from orchwatch.recording.home import home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.monitor.alert_stream import AlertStream

PATH = "/alerts"

# An alert is some 1500 bytes, so this holds more of them than a person would look at.
_MAX_BODY_BYTES = 1024 * 1024
_MAX_NAME = 128
_MAX_TEXT = 1024
_MAX_LABELS = 32
_NS_PER_US = 1000
_OPERATION_LABEL = "orchestration_operation_name"
# Labels that are attributes of their own.
_OWN_ATTRIBUTES = ("alertname", "severity", "kind", "target", _OPERATION_LABEL)

_logger = logging.getLogger(__name__)


def credentials_path() -> str:
    """The file with the secret that Alertmanager sends: its `credentials_file`."""
    return os.path.join(home(), "alertmanager", "credentials")


class AlertReceiver:
    """Takes notifications.

    Args:
        stream: Where they go.
    """

    def __init__(self, stream: AlertStream) -> None:
        self._stream = stream
        self._complained: set[str] = set()

    def route(self) -> Route:
        """Where Alertmanager posts to.

        Raises:
            SecretError: The secret cannot be read or written.
        """
        return Route(
            method="POST",
            take=self.take,
            header="authorization",
            secret=f"Bearer {secret_file.make(credentials_path())}".encode(),
            max_bytes=_MAX_BODY_BYTES,
        )

    def take(self, body: bytes) -> Response:
        """Writes the new alerts; what cannot be understood is counted."""
        try:
            alerts = json.loads(body)["alerts"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._refuse(1)
        if not isinstance(alerts, list):
            return self._refuse(1)
        events = []
        bad = 0
        for alert in alerts:
            try:
                events.append(_event(alert))
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
                bad += 1
        if bad and not events:
            return self._refuse(bad)
        if bad:
            self._count(bad)
        if self._stream.write(events):
            return Response()
        self._complain("an alert cannot be written; its sender is asked to try again")
        return Response("503 Service Unavailable")

    def _refuse(self, number: int) -> Response:
        self._count(number)
        return Response("400 Bad Request")

    def _count(self, number: int) -> None:
        losses.count("bad_alert", number)
        self._complain("ignored a notification, or part of it, that is not Alertmanager's")

    def _complain(self, why: str) -> None:
        """Says so in the log, once for each reason."""
        if why not in self._complained:
            self._complained.add(why)
            _logger.warning("%s", why)


def _event(alert: Mapping[str, Any]) -> AlertEvent:
    labels = _texts(alert["labels"])
    annotations = _texts(alert.get("annotations") or {})
    state = alert["status"]
    if state not in ("firing", "resolved"):
        raise ValueError(state)
    return AlertEvent(
        name=labels["alertname"],
        state=state,
        severity=labels.get("severity") or "info",
        summary=annotations.get("summary") or labels["alertname"],
        start_ns=_moment_ns(alert["startsAt"]),
        end_ns=_moment_ns(alert["endsAt"]) if state == "resolved" else None,
        fingerprint=_text(alert["fingerprint"], _MAX_NAME),
        evaluator=ALERTMANAGER,
        kind=labels.get("kind"),
        target=labels.get("target"),
        operation=labels.get(_OPERATION_LABEL),
        value=_number(annotations.get("value")),
        recommendation=annotations.get("recommendation"),
        runbook=annotations.get("runbook_url"),
        dashboard=annotations.get("dashboard_url"),
        labels=dict(
            islice(
                ((name, text) for name, text in labels.items() if name not in _OWN_ATTRIBUTES),
                _MAX_LABELS,
            )
        ),
    )


def _texts(values: Mapping[object, object]) -> dict[str, str]:
    """The str values, cut to what a person reads; others are left out."""
    return {
        name[:_MAX_NAME]: text[:_MAX_TEXT]
        for name, text in values.items()
        if isinstance(name, str) and isinstance(text, str)
    }


def _text(value: object, max_length: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= max_length:
        raise ValueError(value)
    return value


def _moment_ns(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.timestamp() <= 0:
        raise ValueError(text)
    return round(moment.timestamp() * 1_000_000) * _NS_PER_US


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
