"""How good a value is, as Grafana shows it: the same colours on every page.

A target, and the warning beyond it, are where a colour begins. What nobody measured is grey on
every page: without a mapping of its own Grafana gives it the lowest colour, which for "more is
better" is that of a miss.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models

from orchwatch import semconv

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.units import Limits

OK: Final = "green"
WARN: Final = "orange"
MISS: Final = "red"
UNKNOWN: Final = "#8e8e8e"
NEUTRAL: Final = "blue"

Steps = list[tuple[float | None, str]]

# What a status is as a number, so that the worst sorts first and what is unknown last.
STATUSES: Final = {-1: ("unknown", UNKNOWN), 0: ("ok", OK), 1: ("warn", WARN), 2: ("miss", MISS)}

NO_STEPS: Final[Steps] = [(None, NEUTRAL)]
BUDGET_STEPS: Final[Steps] = [(None, MISS), (0, OK)]
STATUS_STEPS: Final[Steps] = [(None, UNKNOWN), (0, OK), (1, WARN), (2, MISS)]


def steps(limits: Limits) -> Steps:
    """Where each colour begins for a row of the table."""
    if limits.direction == "below":
        found: Steps = [(None, OK), (limits.target, WARN), (limits.warning, MISS)]
    else:
        found = [(None, MISS), (limits.warning, WARN), (limits.target, OK)]
    if limits.target == limits.warning:
        del found[1]  # nothing lies between
    if found[-1] == (limits.target, MISS):
        # A colour begins at its value, and what is as good as its target is no miss: none of none.
        found[-1] = (math.nextafter(limits.target, math.inf), MISS)
    return found


def thresholds(found: Steps) -> ThresholdsConfig:
    """As Grafana has them."""
    return (
        ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in found])
    )


def unmeasured(reason: str) -> models.SpecialValueMap:
    """What is not there is said in grey."""
    return models.SpecialValueMap(
        options=models.DashboardSpecialValueMapOptions(
            match=models.SpecialValueMatch.NULL_AND_NAN,
            result=models.ValueMappingResult(text=reason, color=UNKNOWN, index=0),
        )
    )


def empty(text: str) -> models.SpecialValueMap:
    """A text that is empty is as good as none."""
    return models.SpecialValueMap(
        options=models.DashboardSpecialValueMapOptions(
            match=models.SpecialValueMatch.EMPTY,
            result=models.ValueMappingResult(text=text, color=UNKNOWN, index=1),
        )
    )


def short_ids() -> models.RegexMap:
    """Of a UUID its beginning; what a link hands on is whole."""
    pattern = "/^([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/"
    shown = models.ValueMappingResult(text="$1")
    return models.RegexMap(options=models.DashboardRegexMapOptions(pattern=pattern, result=shown))


def short_names() -> models.RegexMap:
    """Of a session's name the start without year and seconds."""
    pattern = rf"/^(.*{semconv.NAMED})?\d{{4}}-(\d\d-\d\d \d\d:\d\d):\d\dZ$/"
    shown = models.ValueMappingResult(text="$1$2")
    return models.RegexMap(options=models.DashboardRegexMapOptions(pattern=pattern, result=shown))


def status_words() -> models.ValueMap:
    """The words of a status."""
    return words(dict(STATUSES))


def words(found: dict[int, tuple[str, str]] | dict[str, tuple[str, str]]) -> models.ValueMap:
    """Texts and colours of values; an empty colour leaves the panel's."""
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=text, color=color or None, index=number)
            for number, (value, (text, color)) in enumerate(found.items())
        }
    )
