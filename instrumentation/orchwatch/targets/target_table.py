"""The table of targets, typed: what `targets.toml` says and what a user's file changes in it."""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from orchwatch.recording import files
from orchwatch.recording.home import USER_FILE_BYTES
from orchwatch.targets import config
from orchwatch.targets.rows import SECONDS_DIGITS, Row

SHIPPED_FILE = Path(__file__).with_name("targets.toml")
PARSED_FILE = SHIPPED_FILE.with_suffix(".json")

Status = Literal["ok", "warn", "miss", "unknown"]
Direction = Literal["below", "above"]
Severity = Literal["info", "warning", "critical"]

_SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_DIRECTIONS: tuple[Direction, ...] = ("below", "above")
_KINDS = ("ratio", "level")
# Decimals of a number in PromQL.
_DIGITS = 12
# What a shipped row is measured by; only a row of the user's own chooses it.
_MEASURED_BY = ("direction", "kind", "unit")
# A level's id names its gauge and its alert, and both keep only its letters and digits.
_LEVEL_ID = re.compile(r"[A-Za-z][A-Za-z0-9]*([._-][A-Za-z0-9]+)*")
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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """From where on a median that moved is more than noise, as a share of what it was before.

    Attributes:
        significant: So much less is a significant improvement.
        tolerated: So much more is no regression yet.
        least_noise: So much differs whatever is measured.
    """

    significant: float
    tolerated: float
    least_noise: float


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
        thresholds = {
            edge_s
            for row in self.operations.values()
            for edge_s in (row.target_s, row.warning_s, row.alert_s)
            if edge_s is not None
        }
        edges = thresholds.union(self.ladder_s)
        # A percentile beyond the last edge comes out as that edge, so it must be no threshold.
        if max(edges) in thresholds:
            edges.add(2 * max(edges))
        return tuple(sorted(edges))

    def only(self, operation: str) -> Targets:
        """The table without its other operations, and so without their edges."""
        kept = {row_id: row for row_id, row in self.operations.items() if row_id == operation}
        return replace(self, operations=kept)


def load(user_config: config.Config | None = None) -> Targets:
    """The shipped table with the user's changes.

    Args:
        user_config: What the user's file says; by default it is found and read.

    Raises:
        ConfigError: A row breaks a rule; the message names file, key and rule.
    """
    user = user_config if user_config is not None else config.load()
    document = shipped()
    ladder_s = tuple(float(edge) for edge in document["ladder"]["edges_s"])
    factors = document["status"]
    operations: dict[str, OperationTarget] = {}
    for row_id, row in _merged(document, user, "operations"):
        operations[row_id] = _operation(row, factors["factor_below"], ladder_s)
    levels: dict[str, LevelTarget] = {}
    taken: dict[str, Row] = {}
    for group in ("reliability", "levels"):
        for row_id, row in _merged(document, user, group):
            other = taken.setdefault(re.sub(r"[._-]", ".", row_id).casefold(), row)
            if other is not row:
                raise row.error("", f"{other.id!r} stands in [{other.table}] already")
            levels[row_id] = _level(row, group, factors)
    return Targets(operations=operations, levels=levels, ladder_s=ladder_s)


def shipped() -> dict[str, Any]:
    """What `targets.toml` says, as written; not to be changed.

    Parsing TOML takes longer than most commands have, so `orchwatch generate` leaves the same as
    JSON beside it, which counts as long as the checksum is that of the table.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        checksum = zlib.crc32(files.read(SHIPPED_FILE, USER_FILE_BYTES))
        parsed = json.loads(files.read(PARSED_FILE, USER_FILE_BYTES))
    except (OSError, ValueError):
        return config.read_toml(SHIPPED_FILE)
    if parsed["crc32"] != checksum:
        return config.read_toml(SHIPPED_FILE)
    document: dict[str, Any] = parsed["targets"]
    return document


def comparison() -> Comparison:
    """How the table judges what was measured before and after a change."""
    row = shipped()["comparison"]
    return Comparison(
        significant=row["significant"],
        tolerated=row["tolerated"],
        least_noise=row["least_noise"],
    )


def parsed_file() -> str:
    """What the file beside the table should hold."""
    parsed = {
        "generated": "from targets.toml by orchwatch generate",
        "crc32": zlib.crc32(files.read(SHIPPED_FILE, USER_FILE_BYTES)),
        "targets": config.read_toml(SHIPPED_FILE),
    }
    return json.dumps(parsed, indent=1, ensure_ascii=False) + "\n"


def _merged(document: dict[str, Any], user: config.Config, table: str) -> list[tuple[str, Row]]:
    shipped: dict[str, dict[str, Any]] = document[table]
    changed = user.targets.get(table, {})
    rows = []
    for row_id in [*shipped, *(row_id for row_id in changed if row_id not in shipped)]:
        values = _merged_row(shipped.get(row_id, {}), changed.get(row_id, {}))
        file = user.file if row_id in changed and user.file else SHIPPED_FILE
        if row_id not in shipped:
            values.setdefault("source", file.name)
        row = Row(file, table, row_id, values)
        for key in _MEASURED_BY:
            fixed = shipped.get(row_id, {}).get(key)
            if fixed is not None and values[key] != fixed:
                raise row.error(key, f"must stay {fixed!r}, as the row is measured")
        rows.append((row_id, row))
    return rows


def _merged_row(shipped: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    values = {**shipped, **changed}
    for suffix in ("_s", ""):
        target = changed.get(f"target{suffix}")
        if not isinstance(target, int | float):
            continue
        for key in (f"warning{suffix}", f"alert{suffix}"):
            limit = None if key in changed else shipped.get(key)
            if limit is None:
                continue
            if limit == shipped[f"target{suffix}"]:
                # Nothing lies between what is fine and what is missed, whatever the target is.
                values[key] = target
            elif _grade(target, limit, limit, values.get("direction", "below")) != "ok":
                # The user's own target has overtaken it: it belonged to the old one.
                del values[key]
    return values


def _operation(row: Row, factor: float, ladder_s: tuple[float, ...]) -> OperationTarget:
    row.check_id()
    row.check_keys(OperationTarget)
    target_s = row.seconds("target_s")
    if target_s > ladder_s[-1]:
        raise row.error("target_s", f"must be at most {ladder_s[-1]:g}, the histogram's last edge")
    warning_s = row.seconds("warning_s") if "warning_s" in row.values else target_s * factor
    alert_s = row.seconds("alert_s") if "alert_s" in row.values else None
    for key, limit_s in (("warning_s", warning_s), ("alert_s", alert_s)):
        if limit_s is not None and limit_s < target_s:
            raise row.error(key, f"{limit_s:g} must not be below target_s, {target_s:g}")
    objective = row.number("objective") if "objective" in row.values else _DEFAULT_OBJECTIVE
    if not 0 < round(objective, _DIGITS) < 1:
        raise row.error("objective", f"must lie between 0 and 1, not {objective:g}")
    return OperationTarget(
        id=row.id,
        title=row.text("title", row.id),
        target_s=target_s,
        # Without binary noise: 1.2 x 0.1 is 0.12, an edge that people and PromQL type.
        warning_s=round(warning_s, SECONDS_DIGITS),
        alert_s=alert_s,
        objective=objective,
        severity=row.choice("severity", _SEVERITIES, "warning"),
        recommendation=row.text("recommendation", "See which part of it takes the time"),
        source=row.text("source"),
    )


def _level(row: Row, group: str, factors: dict[str, float]) -> LevelTarget:
    row.check_id(_LEVEL_ID)
    row.check_keys(LevelTarget)
    direction = row.choice("direction", _DIRECTIONS, None)
    unit = row.text("unit")
    target = _limit(row, "target", direction, unit)
    if "warning" in row.values:
        warning = _limit(row, "warning", direction, unit)
    else:
        warning = _default_warning(target, factors[f"factor_{direction}"], unit)
    alert = _limit(row, "alert", direction, unit) if "alert" in row.values else None
    for key, limit in (("warning", warning), ("alert", alert)):
        if limit is not None and _grade(target, limit, limit, direction) != "ok":
            raise row.error(key, f"{limit:g} must not be {direction} target, {target:g}")
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


def _limit(row: Row, key: str, direction: Direction, unit: str) -> float:
    """What a level is compared with; of a share, something that it can be beyond."""
    limit = round(row.number(key, positive=False), _DIGITS)
    if unit == "1" and limit > 1:
        raise row.error(key, f"is a share and must be at most 1, not {limit:g}")
    last, beyond = (1, "above") if direction == "below" else (0, "below")
    if unit == "1" and limit == last:
        raise row.error(key, f"{last} is never missed: no share lies {beyond} it")
    return limit


def _default_warning(target: float, factor: float, unit: str) -> float:
    # Without binary noise: 1.2 x 0.8 is 0.96.
    warning = float(f"{target * factor:.12g}")
    # No share lies beyond 1, so that none would be a miss: half of what is left to it.
    return (1 + target) / 2 if unit == "1" and warning >= 1 else warning
