"""Silences of Alertmanager that hide alerts for long, or all of them, and may be forgotten.

Source: Alertmanager's API v2, `/silences`; Prometheus' HTTP API, `/rules`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orchwatch.diagnosis import client
from orchwatch.diagnosis.check import Check
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchwatch.diagnosis.servers import Server

# From its start to its end: an alert that is being worked on is silenced for less than a day.
LONG: Final = timedelta(hours=24)

# Fires always, and says nothing: a silence that leaves it alone may still hide all others.
_WATCHDOG: Final = "Watchdog"
_MAX_SHOWN: Final = 3

Labels = dict[str, str]


def check_silences(alertmanager: Server, prometheus: Server, *, timeout_s: float) -> Check:
    """Whether one lasts longer than `LONG`, or hides every alert there is.

    Raises:
        OSError: Alertmanager does not answer.
        ValueError, LookupError, TypeError, AttributeError: Its answer means something else.
    """
    answer = client.read(f"{alertmanager.url}/api/v2/silences", timeout_s=timeout_s)
    known = [one for one in json.loads(answer) if one["status"]["state"] != "expired"]
    alerts = _alerts(prometheus, timeout_s) if known else []
    doubtful = [(one, why) for one in known if (why := _doubt(one, alerts))]
    if not doubtful:
        return Check(
            name="silences",
            state="ok",
            found=f"{counted(len(known), 'silence')}; none hides every alert or lasts longer than"
            f" {LONG / timedelta(hours=1):.0f} h",
        )
    shown = "; ".join(f"{_matchers(one)} {why}" for one, why in doubtful[:_MAX_SHOWN])
    more = f"; and {len(doubtful) - _MAX_SHOWN} more" if len(doubtful) > _MAX_SHOWN else ""
    return Check(
        name="silences",
        state="warn",
        found=f"alerts are silenced: {shown}{more}",
        remedy=f"end what is not meant any more: {alertmanager.address}/#/silences",
    )


def _alerts(prometheus: Server, timeout_s: float) -> list[Labels]:
    """The labels that Prometheus' rules give their alerts; none where it does not say."""
    try:
        answer = client.read(f"{prometheus.url}/api/v1/rules?type=alert", timeout_s=timeout_s)
        return [
            {**rule["labels"], "alertname": rule["name"]}
            for group in json.loads(answer)["data"]["groups"]
            for rule in group["rules"]
            if rule["name"] != _WATCHDOG
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _doubt(silence: Mapping[str, Any], alerts: Sequence[Labels]) -> str:
    """Why a silence deserves a look; empty where there is no reason."""
    begin, end = (datetime.fromisoformat(silence[key]) for key in ("startsAt", "endsAt"))
    until = f"until {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC, by {silence['createdBy'] or 'nobody'}"
    if alerts and all(_hides(silence, labels) for labels in alerts):
        return f"hides every alert {until}"
    return until if end - begin > LONG else ""


def _hides(silence: Mapping[str, Any], labels: Labels) -> bool:
    return all(_fits(matcher, labels) for matcher in silence["matchers"])


def _fits(matcher: Mapping[str, Any], labels: Labels) -> bool:
    # A label that is not there is an empty one.
    value = labels.get(matcher["name"], "")
    if matcher["isRegex"]:
        try:
            fits = re.fullmatch(matcher["value"], value) is not None
        except re.error:  # of Go's language only
            return False
    else:
        fits = bool(matcher["value"] == value)
    return fits == bool(matcher.get("isEqual", True))


def _matchers(silence: Mapping[str, Any]) -> str:
    """As a person writes them: `alertname=~"Queue.*"`."""
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return ", ".join(
        f"{one['name']}{signs[one['isRegex'], one.get('isEqual', True)]}{json.dumps(one['value'])}"
        for one in silence["matchers"]
    )
