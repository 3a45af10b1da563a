"""The table of targets, typed: what `targets.toml` says and what a user's file changes in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from orchwatch import config
from orchwatch.config import ConfigError

SHIPPED_FILE = Path(__file__).with_name("targets.toml")

Status = Literal["ok", "warn", "miss", "unknown"]
Direction = Literal["below", "above"]
Severity = Literal["info", "warning", "critical"]

_SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_DIRECTIONS: tuple[Direction, ...] = ("below", "above")
_KINDS = ("ratio", "level")
# A status compares the p95, so the share that should stay under a target is 95 % unless a row
# says otherwise.
_DEFAULT_OBJECTIVE = 0.95


def _grade(value: float | None, target: float, limit: float, direction: Direction) -> Status:
    if value is None or math.isnan(value):
        return "unknown"
    if direction == "above":
        value, target, limit = -value, -target, -limit
    if value <= target:
        return "ok"
    return "warn" if value <= limit else "miss"


@dataclass(frozen=True, kw_only=True)
class OperationTarget:
    """How long an operation may take.

    Attributes:
        id: The operation's name, e.g. `state.query`.
        title: What a person calls it.
        target_s: The p95 should not exceed this many seconds.
        warning_s: Up to here a p95 beyond the target is a warning, beyond it a miss.
        alert_s: The requirements' own alert threshold; None where they give none.
        objective: The share of operations that should stay under the target.
        severity: Of the alert.
        recommendation: What to do about a miss.
        source: Where the numbers come from.
    """

    id: str
    title: str
    target_s: float
    warning_s: float
    alert_s: float | None
    objective: float
    severity: Severity
    recommendation: str
    source: str

    def status(self, p95_s: float | None) -> Status:
        """Grades a measured p95 in seconds; None (nothing measured) is unknown."""
        return _grade(p95_s, self.target_s, self.warning_s, "below")


@dataclass(frozen=True, kw_only=True)
class LevelTarget:
    """A level or ratio that should stay below or above a value.

    Attributes:
        id: Its name, e.g. `cpu.utilization`.
        group: `reliability` or `levels`, the table it stands in.
        title: What a person calls it.
        kind: `ratio` (events over events) or `level` (a measured quantity).
        direction: Whether values `below` or `above` the target are good; the target itself is.
        target: In `unit`.
        warning: Up to here a value beyond the target is a warning, beyond it a miss.
        alert: The requirements' own alert threshold; None where they give none.
        unit: UCUM: `1` is a share from 0 to 1, `By` bytes.
        severity: Of the alert.
        recommendation: What to do about a miss.
        source: Where the numbers come from.
    """

    id: str
    group: str
    title: str
    kind: str
    direction: Direction
    target: float
    warning: float
    alert: float | None
    unit: str
    severity: Severity
    recommendation: str
    source: str

    def status(self, value: float | None) -> Status:
        """Grades a measured value in `unit`; None (nothing measured) is unknown."""
        return _grade(value, self.target, self.warning, self.direction)


@dataclass(frozen=True)
class Targets:
    """The whole table.

    Attributes:
        operations: By id, in the table's order.
        levels: Reliability rows, then levels, by id, in the table's order.
        ladder_s: Histogram edges beside the thresholds, in seconds.
    """

    operations: dict[str, OperationTarget]
    levels: dict[str, LevelTarget]
    ladder_s: tuple[float, ...]

    @cached_property
    def edges_s(self) -> tuple[float, ...]:
        """Upper edges of every latency histogram, ascending, in seconds.

        Each target, warning and alert threshold is an edge, so that "how many were under it" is
        counted and never interpolated.
        """
        edges = set(self.ladder_s)
        for row in self.operations.values():
            edges.update((row.target_s, row.warning_s))
            if row.alert_s is not None:
                edges.add(row.alert_s)
        return tuple(sorted(edges))


def load(user_config: config.Config | None = None) -> Targets:
    """The shipped table with the user's changes.

    Args:
        user_config: What the user's file says; by default it is found and read.

    Raises:
        ConfigError: A row breaks a rule; the message names file, key and rule.
    """
    user = user_config if user_config is not None else config.load()
    document = config.read_toml(SHIPPED_FILE)
    ladder_s = tuple(float(edge) for edge in document["ladder"]["edges_s"])
    factors = document["status"]
    operations: dict[str, OperationTarget] = {}
    for row_id, row in _merged(document, user, "operations"):
        operations[row_id] = _operation(row, factors["factor_below"], ladder_s)
    levels: dict[str, LevelTarget] = {}
    for group in ("reliability", "levels"):
        for row_id, row in _merged(document, user, group):
            if row_id in levels:
                raise row.error("", f"the id stands in [{levels[row_id].group}] already")
            levels[row_id] = _level(row, group, factors)
    return Targets(operations=operations, levels=levels, ladder_s=ladder_s)


_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True)
class _Row:
    """A row as written, with what its errors have to name."""

    file: Path
    table: str
    id: str
    values: dict[str, Any]

    def error(self, key: str, rule: str) -> ConfigError:
        name = f'{self.table}."{self.id}"'
        return ConfigError(self.file, f"{name}.{key}" if key else name, rule)

    def check_keys(self, row_type: type, *also: str) -> None:
        known = {field.name for field in fields(row_type)} - {"id", "group"} | set(also)
        for key in self.values:
            if key not in known:
                raise self.error(key, f"unknown key; known are {', '.join(sorted(known))}")

    def number(self, key: str, *, positive: bool = True) -> float:
        value = self.values.get(key)
        if value is None:
            raise self.error(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"must be a number, not {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(key, f"must be a finite number, not {number}")
        if number < 0 or (positive and number == 0):
            raise self.error(key, f"must be {'above 0' if positive else '0 or more'}, not {value}")
        return number

    def optional_number(self, key: str) -> float | None:
        return None if key not in self.values else self.number(key)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be a text, not {value!r}")
        return value

    def choice(self, key: str, choices: tuple[_Choice, ...], default: _Choice | None) -> _Choice:
        value = self.text(key, default)
        for choice in choices:
            if value == choice:
                return choice
        raise self.error(key, f"must be one of {', '.join(choices)}, not {value!r}")


def _merged(document: dict[str, Any], user: config.Config, table: str) -> list[tuple[str, _Row]]:
    shipped: dict[str, dict[str, Any]] = document[table]
    changed = user.targets.get(table, {})
    rows = []
    for row_id in [*shipped, *(row_id for row_id in changed if row_id not in shipped)]:
        values = _merged_row(shipped.get(row_id, {}), changed.get(row_id, {}))
        file = user.file if row_id in changed and user.file else SHIPPED_FILE
        if row_id not in shipped:
            values.setdefault("source", file.name)
        rows.append((row_id, _Row(file, table, row_id, values)))
    return rows


def _merged_row(shipped: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    values = {**shipped, **changed}
    for suffix in ("_s", ""):
        target = changed.get(f"target{suffix}")
        if not isinstance(target, int | float):
            continue
        # A shipped threshold that the user's own target has overtaken belonged to the old target.
        for key in (f"warning{suffix}", f"alert{suffix}"):
            limit = None if key in changed else shipped.get(key)
            direction = values.get("direction", "below")
            if limit is not None and _grade(target, limit, limit, direction) != "ok":
                del values[key]
    return values


def _operation(row: _Row, factor: float, ladder_s: tuple[float, ...]) -> OperationTarget:
    row.check_keys(OperationTarget)
    target_s = row.number("target_s")
    if target_s > ladder_s[-1]:
        raise row.error("target_s", f"must be at most {ladder_s[-1]:g}, the histogram's last edge")
    warning_s = row.optional_number("warning_s")
    if warning_s is None:
        warning_s = _times(target_s, factor)
    elif warning_s < target_s:
        raise row.error("warning_s", f"{warning_s:g} must not be below target_s, {target_s:g}")
    alert_s = row.optional_number("alert_s")
    if alert_s is not None and alert_s < target_s:
        raise row.error("alert_s", f"{alert_s:g} must not be below target_s, {target_s:g}")
    objective = row.number("objective") if "objective" in row.values else _DEFAULT_OBJECTIVE
    if not 0 < objective < 1:
        raise row.error("objective", f"must lie between 0 and 1, not {objective:g}")
    return OperationTarget(
        id=row.id,
        title=row.text("title", row.id),
        target_s=target_s,
        warning_s=warning_s,
        alert_s=alert_s,
        objective=objective,
        severity=row.choice("severity", _SEVERITIES, "warning"),
        recommendation=row.text("recommendation", "See which part of it takes the time"),
        source=row.text("source"),
    )


def _level(row: _Row, group: str, factors: dict[str, float]) -> LevelTarget:
    row.check_keys(LevelTarget)
    direction = row.choice("direction", _DIRECTIONS, None)
    target = row.number("target", positive=False)
    warning = row.optional_number("warning")
    if warning is None:
        warning = _times(target, factors[f"factor_{direction}"])
    alert = row.optional_number("alert")
    for key, limit in (("warning", warning), ("alert", alert)):
        if limit is not None and _grade(target, limit, limit, direction) != "ok":
            where = "below" if direction == "below" else "above"
            raise row.error(key, f"{limit:g} must not be {where} target, {target:g}")
    unit = row.text("unit")
    if unit == "1" and target > 1:
        raise row.error("target", f"is a share and must be at most 1, not {target:g}")
    return LevelTarget(
        id=row.id,
        group=group,
        title=row.text("title", row.id),
        kind=row.choice("kind", _KINDS, "level"),
        direction=direction,
        target=target,
        warning=warning,
        alert=alert,
        unit=unit,
        severity=row.choice("severity", _SEVERITIES, "warning"),
        recommendation=row.text("recommendation", "See what changed it"),
        source=row.text("source"),
    )


def _times(target: float, factor: float) -> float:
    """The product without binary noise: 1.2 x 0.1 is 0.12, an edge that people and PromQL type."""
    return float(f"{target * factor:.12g}")
