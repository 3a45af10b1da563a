"""The settings that the runtime works with, where code does not say otherwise.

What `orchwatch tune` has found lies in `$ORCHWATCH_HOME/tuning.json`, so that nobody's own file is
rewritten. It holds as long as `orchwatch.toml` says what it said then: a person who sets a knob
afterwards is obeyed.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home
from orchwatch.targets import config
from orchwatch.targets.config import ConfigError
from orchwatch.targets.knobs import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

TUNED_FILE = "tuning.json"
_MAX_BYTES = 64 * 1024


class Tuned(NamedTuple):
    """What `orchwatch tune` has found for one knob.

    Attributes:
        value: The setting.
        instead_of: What the user's file said then; None where it said nothing.
    """

    value: float
    instead_of: float | None


def current() -> Settings:
    """What holds now: found by `orchwatch tune`, else from the user's file, else the default.

    A file that breaks a rule stops no orchestration: then the defaults hold, and the commands say
    what is wrong with it.
    """
    tuned_file = os.path.join(home(), TUNED_FILE)
    try:
        file = config.find()
        return _settings(file, _state_of(file), tuned_file, _state_of(tuned_file))
    except ConfigError:
        return Settings()


def of(said: Mapping[str, float], found: Mapping[str, Tuned]) -> Settings:
    """What a user's file and `orchwatch tune` together come to."""
    holding = {name: one.value for name, one in found.items() if one.instead_of == said.get(name)}
    return Settings(**{**said, **holding})  # type: ignore[arg-type]


def tuned(directory: Path) -> dict[str, Tuned]:
    """What `orchwatch tune` has found, by knob.

    Args:
        directory: The `ORCHWATCH_HOME` that it lies in.

    Raises:
        ConfigError: The file is damaged; nothing but `orchwatch tune` should write it.
    """
    path = directory / TUNED_FILE
    try:
        document: Any = json.loads(files.read(path, _MAX_BYTES, links=False))
        found = {
            name: Tuned(entry["value"], entry["instead_of"]) for name, entry in document.items()
        }
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        rule = "is damaged; without it the settings are those of orchwatch.toml"
        raise ConfigError(path, "", rule) from error
    config.checked_tuning(path, {name: one.value for name, one in found.items()})
    return found


def keep(directory: Path, found: Mapping[str, Tuned]) -> None:
    """Replaces what was found, as a whole; a reader sees what was before, or this.

    Raises:
        ConfigError: It cannot be written, and is as it was.
    """
    path = directory / TUNED_FILE
    try:
        if not found:
            path.unlink(missing_ok=True)
            return
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        document = {name: one._asdict() for name, one in sorted(found.items())}
        files.replace(path, json.dumps(document, indent=2).encode() + b"\n", sync=True)
    except OSError as error:
        raise ConfigError(path, "", f"cannot be written: {error.strerror}") from error


@lru_cache(maxsize=8)
def _settings(file: Path | None, _file_state: Any, tuned_file: str, _tuned_state: Any) -> Settings:
    return of(config.load(file).tuning if file else {}, tuned(Path(tuned_file).parent))


def _state_of(file: str | Path | None) -> tuple[int, ...] | None:
    """What differs once a file was written again."""
    try:
        found = os.stat(file) if file else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
