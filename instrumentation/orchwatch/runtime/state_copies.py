"""Copies of a session's state in files: the JSON view for other tools, and checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime.state import StateError, encode_state, read_state

if TYPE_CHECKING:
    from pathlib import Path

KEPT_CHECKPOINTS = 5


@dataclass(frozen=True)
class Checkpoint:
    """A whole copy of a state.

    Attributes:
        version: The version that the state had.
        path: The file, `{"version": n, "checksum": "<sha256 of the state>", "state": {…}}`.
    """

    version: int
    path: Path


def export(paths: tuple[Path, ...], state: dict[str, Any]) -> None:
    """Replace files with the state as JSON; a reader sees the old one or the new one.

    Raises:
        StateError: One cannot be written.
    """
    content = json.dumps(state, separators=(",", ":")).encode() + b"\n"
    for path in paths:
        _replace(path, content, sync=False)


def save(directory: Path, version: int, state: dict[str, Any]) -> Checkpoint:
    """Keep a copy that survives a power cut, and remove the oldest beyond `KEPT_CHECKPOINTS`.

    Raises:
        StateError: It cannot be written.
    """
    path = directory / f"{version}.json"
    directory.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    _replace(path, encode_state(path, state, version), sync=True)
    for old in saved(directory)[:-KEPT_CHECKPOINTS]:
        old.path.unlink(missing_ok=True)
    return Checkpoint(version, path)


def saved(directory: Path) -> list[Checkpoint]:
    """The copies that are there, oldest version first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.glob("*.json") if path.stem.isdecimal()]
    return sorted((Checkpoint(int(path.stem), path) for path in found), key=lambda c: c.version)


def load(directory: Path, version: int | None) -> tuple[Checkpoint, dict[str, Any]]:
    """A copy's state, of the newest where no version is named.

    Raises:
        StateError: There is none, or its checksum does not fit.
    """
    found = saved(directory)
    for checkpoint in reversed(found):
        if version in {None, checkpoint.version}:
            return checkpoint, read_state(checkpoint.path)[1]
    known = ", ".join(str(checkpoint.version) for checkpoint in found) or "none"
    wanted = "" if version is None else f"{version} "
    raise StateError(f"{directory}: no checkpoint {wanted}is kept; there is {known}")


def _replace(path: Path, content: bytes, *, sync: bool) -> None:
    try:
        files.replace(path, content, sync=sync)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror}") from error
