"""The user's own file, `orchwatch.toml`: where it lies and which tables it may hold."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import USER_FILE_BYTES, user_file
from orchwatch.targets.knobs import KNOBS

TARGET_TABLES = ("operations", "reliability", "levels")
INSTRUMENT_TABLE = "instrument"
ALERTING_TABLE = "alerting"
RETENTION_TABLE = "retention"
TUNING_TABLE = "tuning"


class ConfigError(OrchwatchError):
    """A configuration file breaks a rule; the message names file, key and rule."""

    def __init__(self, file: str | Path, key: str, rule: str) -> None:
        where = f"{file}: {key}" if key else f"{file}"
        super().__init__(" ".join(f"{where}: {rule}".splitlines()))


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What of the past is kept; 0 is no limit.

    Attributes:
        store_days: Operations in the store, in days since they were recorded.
        store_bytes: All files of the store together; the oldest go first.
        session_idle_days: Sessions of the runtime, in days since they were last written to; then
            they are compressed, and open as ever.
        session_days: The same until what was compressed is removed.
        session_bytes: All that is compressed of a workspace together; the oldest go first.
        benchmark_bytes: The runs of `orchwatch bench`; the oldest go first.
    """

    store_days: float = 90
    store_bytes: float = 1024**3
    session_idle_days: float = 1
    session_days: float = 90
    session_bytes: float = 256 * 1024**2
    benchmark_bytes: float = 64 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `orchwatch.toml` says.

    Attributes:
        file: The file that was read; None if there is none.
        targets: Rows by table (`operations`, `reliability`, `levels`) and id, as written.
        instrument: Operation name by dotted callable, e.g. `{"app.db:Store.get": "state.query"}`.
        alerting: Profile and links of the generated alerts, as written.
        retention: How long and how much is kept.
        tuning: Settings of the runtime, by the name of their knob.
    """

    file: Path | None = None
    targets: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    instrument: dict[str, str] = field(default_factory=dict)
    alerting: dict[str, Any] = field(default_factory=dict)
    retention: Retention = field(default_factory=Retention)
    tuning: dict[str, float] = field(default_factory=dict)


def find() -> Path | None:
    """The user's file: `ORCHWATCH_CONFIG`, else `./orchwatch.toml`, else the XDG config one.

    Raises:
        ConfigError: `ORCHWATCH_CONFIG` names a file that does not exist.
    """
    file = user_file()
    if file is None:
        return None
    path = Path(file)
    if not os.path.lexists(path):
        raise ConfigError(path, "", "ORCHWATCH_CONFIG names it, and no such file exists")
    return path


def load(file: Path | None = None) -> Config:
    """Reads the user's file, or the one that `find` names; no file gives an empty `Config`.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or holds an unknown table.
    """
    file = file or find()
    if file is None:
        return Config()
    document = read_toml(file)
    known = (*TARGET_TABLES, INSTRUMENT_TABLE, ALERTING_TABLE, RETENTION_TABLE, TUNING_TABLE)
    for name, table in document.items():
        if name not in known:
            raise ConfigError(file, name, f"unknown table; known are {', '.join(known)}")
        if not isinstance(table, dict):
            raise ConfigError(file, name, "must be a table")
    targets = {name: document.get(name, {}) for name in TARGET_TABLES}
    for name, rows in targets.items():
        for row_id, row in rows.items():
            if not isinstance(row, dict):
                raise ConfigError(
                    file, f"{name}.{row_id}", f'must be a table; quote the id: [{name}."my.id"]'
                )
            for key, value in row.items():
                if isinstance(value, dict):
                    rule = f'an id with dots needs quotes: [{name}."{row_id}.{key}"]'
                    raise ConfigError(file, f"{name}.{row_id}.{key}", rule)
    return Config(
        file=file,
        targets=targets,
        instrument=_instrument(file, document.get(INSTRUMENT_TABLE, {})),
        alerting=document.get(ALERTING_TABLE, {}),
        retention=_retention(file, document.get(RETENTION_TABLE, {})),
        tuning=checked_tuning(file, document.get(TUNING_TABLE, {})),
    )


def read_toml(file: Path) -> dict[str, Any]:
    """The parsed file.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    import tomllib  # noqa: PLC0415 - slow, and most have no file of their own

    try:
        return tomllib.loads(files.read(file, USER_FILE_BYTES).decode())
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigError(file, "", "is not valid TOML: nested too deeply") from error
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise ConfigError(file, "", f"is not valid TOML: {error}") from error


def _retention(file: Path, table: dict[str, Any]) -> Retention:
    known = [each.name for each in fields(Retention)]
    for name, value in table.items():
        key = f"{RETENTION_TABLE}.{name}"
        if name not in known:
            raise ConfigError(file, key, f"unknown key; known are {', '.join(known)}")
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise ConfigError(file, key, "must be a number of 0 or more; 0 is no limit")
    return Retention(**table)


def checked_tuning(file: Path, table: dict[str, Any]) -> dict[str, float]:
    """Settings of the runtime that a file holds, each within its bounds.

    Raises:
        ConfigError: One is not, or there is no such knob.
    """
    knobs = {knob.name: knob for knob in KNOBS}
    for name, value in table.items():
        key = f"{TUNING_TABLE}.{name}"
        if name not in knobs:
            raise ConfigError(file, key, f"unknown key; known are {', '.join(knobs)}")
        rule = knobs[name].broken_rule(value)
        if rule:
            raise ConfigError(file, key, rule)
    return dict(table)


def _instrument(file: Path, table: dict[str, Any]) -> dict[str, str]:
    for target, operation_name in table.items():
        key = f'{INSTRUMENT_TABLE}."{target}"'
        module, separator, attribute = target.partition(":")
        if not (module and separator and attribute):
            raise ConfigError(file, key, 'must be spelt "package.module:Class.method"')
        if not isinstance(operation_name, str) or not operation_name:
            raise ConfigError(file, key, "must be the name of an operation")
    return dict(table)
