"""`alerting.toml`, typed: the profile's windows, the horizons and the links of the alerts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchwatch.mixin.lib import level_series, promql
from orchwatch.targets import config, rows
from orchwatch.targets.config import ConfigError

FILE = Path(__file__).with_name("alerting.toml")
# What a link begins with: a page's path or an entry's anchor follows.
_ADDRESS = re.compile(r"https?://[^\s/?#\"<>][^\s#\"<>]*")


@dataclass(frozen=True, kw_only=True)
class Burn:
    """A pair of windows, see `alerting.toml`.

    Attributes:
        factor: How many times faster than allowed the error budget is spent.
        long: The window whose budget is meant.
        short: The window that says that it still goes on.
    """

    factor: float
    long: str
    short: str

    def bad_share(self, objective: float) -> float:
        """The share of bad operations that is this burn for an objective."""
        return self.factor * (1 - objective)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `alerting.toml` says, for the chosen profile. Durations are Prometheus' own.

    Attributes:
        profile: Its name.
        period: What an error budget is given for.
        burns: Pairs of windows, fastest first.
        bad_operations: Fewer in a long window are no burn.
        settled: How long a count of operations must be beyond its limit.
        hold: How long a level must stay beyond its threshold, or within it to be well again.
        past: What an anomaly is compared with.
        window: What a p95 covers.
        runbook: Address of the page that has an entry for each alert.
        grafana: Grafana's address.
        prediction: Trends, horizons and the share of a trend that must be there.
        anomaly: Fences, least factor, least number of operations, share of the past.
        regression: Day, the days before, least factor, least number of operations.
        messages: Windows of the alerts about messages.
        pipeline: Windows and shares of the pipeline's own alerts.
    """

    profile: str
    period: str
    burns: tuple[Burn, ...]
    bad_operations: int
    settled: str
    hold: str
    past: str
    window: str
    runbook: str
    grafana: str
    prediction: dict[str, Any]
    anomaly: dict[str, Any]
    regression: dict[str, Any]
    messages: dict[str, Any]
    pipeline: dict[str, Any]

    def burns_for(self, objective: float) -> list[Burn]:
        """The pairs that can burn, at least one.

        Where everything is promised there is no budget to spend: the quickest pair says that
        something was bad at all. Where so little is promised that no share of bad operations spends
        the budget so fast, the slowest pair says that the promise is not kept.
        """
        if objective == 1:
            return [self.burns[0]]
        can_burn = [burn for burn in self.burns if burn.bad_share(objective) < 1]
        return can_burn or [replace(self.burns[-1], factor=1)]

    def windows(self) -> list[str]:
        """Every window that shares are recorded over, shortest first."""
        found = {self.period, self.window, self.pipeline["idle"], level_series.TASKS_WINDOW}
        for burn in self.burns:
            found |= {burn.long, burn.short}
        return sorted(found, key=promql.seconds)


def load(user_config: config.Config | None = None) -> Settings:
    """The shipped settings with the user's.

    Args:
        user_config: What the user's file says; by default it is found and read.

    Raises:
        ConfigError: A setting of the user's breaks a rule.
    """
    user = user_config if user_config is not None else config.load()
    document = config.read_toml(FILE)
    chosen = _chosen(user, document)
    profile = document["profiles"][chosen["profile"]]
    period_s = promql.seconds(profile["period"])
    burns = [
        Burn(
            factor=burn["budget"] * period_s / promql.seconds(burn["long"]),
            long=burn["long"],
            short=burn["short"],
        )
        for burn in profile["burns"]
    ]
    return Settings(
        profile=chosen["profile"],
        period=profile["period"],
        burns=tuple(burns),
        bad_operations=document["budget"]["bad_operations"],
        settled=document["counts"]["settled"],
        hold=profile["hold"],
        past=profile["past"],
        window=document["readings"]["window"],
        runbook=chosen["runbook"],
        grafana=chosen["grafana"].rstrip("/"),
        prediction=document["prediction"],
        anomaly=document["anomaly"],
        regression=document["regression"],
        messages=document["messages"],
        pipeline=document["pipeline"],
    )


def _chosen(user: config.Config, document: dict[str, Any]) -> dict[str, str]:
    chosen = {"profile": document["profile"], **document["links"]}
    file = user.file or FILE
    for key, value in user.alerting.items():
        name = f"{config.ALERTING_TABLE}.{key}"
        if key not in chosen:
            raise ConfigError(file, name, f"unknown key; known are {', '.join(sorted(chosen))}")
        if not isinstance(value, str) or not value:
            raise ConfigError(file, name, f"must be a string, not {value!r}")
        if not rows.is_line(value):
            raise ConfigError(
                file, name, f"must be one line of printable text without {rows.TEMPLATE}"
            )
        if key != "profile" and not _ADDRESS.fullmatch(value):
            rule = f"must be an address such as https://example.org/{key}, not {value!r}"
            raise ConfigError(file, name, rule)
        chosen[key] = value
    if chosen["profile"] not in document["profiles"]:
        known = ", ".join(document["profiles"])
        rule = f"must be one of {known}, not {chosen['profile']!r}"
        raise ConfigError(file, f"{config.ALERTING_TABLE}.profile", rule)
    return chosen
