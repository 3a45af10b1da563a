"""What a settings file held before orchwatch was installed in it, kept to give it back."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home

TEMPORARY_SUFFIX = ".orchwatch-tmp"
_BEFORE, _RECORD = "before", "record.json"
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Record:
    """What undoes an installation.

    Attributes:
        before: What the file held before; None where there was no such file.
        digest: Of what was written.
        env: The variables that were set in it.
        mode: Its permission bits before; None where there was no such file.
    """

    before: bytes | None
    digest: str
    env: dict[str, str]
    mode: int | None


def content_path(path: str) -> str:
    """Where the previous content of a settings file is kept, once something is installed."""
    return os.path.join(_directory(os.path.realpath(path)), _BEFORE)


def read(path: str) -> bytes:
    """The content of a file of reasonable size.

    Raises:
        OSError: It cannot be read.
    """
    return files.read(path, _MAX_BYTES)


def replace(path: str, content: bytes | None, mode: int | None = None) -> None:
    """Replaces a file in one step, keeping its owner; None removes it.

    A file gets `mode` where one is given, and is private otherwise, from its first byte on.
    """
    if content is None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    # A fixed name, so that what a kill leaves can be found; only under the lock.
    temporary = path + TEMPORARY_SUFFIX
    try:
        file = files.create(temporary)
        try:
            with suppress(FileNotFoundError):
                status = os.stat(path)
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    with suppress(PermissionError):
                        os.fchown(file, status.st_uid, status.st_gid)
            if mode is not None:
                os.fchmod(file, mode)
            files.write_all(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def save(path: str, record: Record) -> None:
    """Keeps what undoes an installation; the mode before the first one stays.

    Raises:
        OSError: It cannot be written.
    """
    directory = _directory(path)
    earlier = load(path)
    os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
    if record.before is not None:
        replace(os.path.join(directory, _BEFORE), record.before)
    document = {
        "path": path,
        "existed": record.before is not None,
        "sha256": record.digest,
        "env": record.env,
        "mode": record.mode if earlier is None or earlier.mode is None else earlier.mode,
    }
    replace(os.path.join(directory, _RECORD), json.dumps(document, indent=2).encode() + b"\n")


def load(path: str) -> Record | None:
    """The record of a settings file; None where nothing is installed in it."""
    directory = _directory(path)
    try:
        record = json.loads(read(os.path.join(directory, _RECORD)))
        before = read(os.path.join(directory, _BEFORE)) if record["existed"] else None
        mode = record.get("mode")
        return Record(
            before=before,
            digest=str(record["sha256"]),
            env=dict(record["env"]),
            mode=mode if isinstance(mode, int) else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(path: str) -> None:
    """Removes the record of a settings file."""
    directory = _directory(path)
    for name in (_RECORD, _BEFORE):
        for suffix in ("", TEMPORARY_SUFFIX):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name + suffix))
    with suppress(FileNotFoundError):
        os.rmdir(directory)


def digest(content: bytes) -> str:
    """Identifies a content."""
    return hashlib.sha256(content).hexdigest()


def _directory(path: str) -> str:
    return os.path.join(home(), "claude", f"settings-{digest(os.fsencode(path))[:16]}")
