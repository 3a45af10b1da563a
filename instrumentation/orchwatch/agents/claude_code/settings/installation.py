"""Putting orchwatch into a settings file, and taking it out to the byte.

What the file held before is kept under the user's `ORCHWATCH_HOME`, with a record of what was
written. As long as the file is what was written, taking it out is giving those bytes back; once
the file has changed since, only what is ours is removed.

A file that gets the secret of `http` hooks is readable by its owner only, whatever it was before,
until the secret is taken out again; one that git would take is refused.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.settings import backup, hook_wrapping, secrecy, settings_file
from orchwatch.agents.claude_code.settings.settings_file import Additions, Removed, SettingsError
from orchwatch.recording import files
from orchwatch.recording.locks import lock_exclusively

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOCK_WAIT_S = 10.0
_WRITE_BITS = 0o222


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to become of a settings file.

    Attributes:
        path: The file itself, links followed.
        current: What it holds; None where there is no such file.
        before: What it held, or would hold, without orchwatch; None where there was no such file.
        new: What it is to hold; None where it is to go.
        env: The variables that are set in it.
        mode: Its permission bits now; None for a new file, which will be private.
        new_mode: The mode that it is to have; likewise.
        removed: What of ours stood in it, where that had to be looked for.
        additions: What is to stand in it; None where it is uninstalled from.
        launchers: What wrapped hooks run through, by path.
    """

    path: str
    current: bytes | None
    before: bytes | None
    new: bytes | None
    env: dict[str, str]
    mode: int | None = None
    new_mode: int | None = None
    removed: Removed | None = None
    additions: Additions | None = None
    launchers: dict[str, bytes] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return (
            self.new != self.current
            or self.new_mode != self.mode
            or any(_load_if_there(path) != content for path, content in self.launchers.items())
        )


def plan_install(path: str, additions: Callable[[], Additions]) -> Change:
    """What installing would do.

    Args:
        path: The settings file, which need not exist.
        additions: Gives what is to stand in it; asked for when the file is known to be usable.

    Raises:
        SettingsError: The file cannot be read or changed, is not what it should be, or would take a
            secret into a repository.
    """
    path, current = _read(path)
    before, _ = _original(path, current)
    text, mark = _decode(path, before or b"")
    with _named(path):
        old = settings_file.parse(text)
        wanted = additions()
        new = (mark + settings_file.add(text, wanted)).encode()
        if current is not None and _same(current, new):
            new = current
    env = {key: value for key, value in wanted.env.items() if key not in old.get("env", {})}
    mode = _mode(path)
    new_mode = mode
    if wanted.hold_a_secret:
        why = secrecy.in_git(path)
        if why:
            raise SettingsError(
                f"{path}: {why}, and the secret of http hooks must not get into a repository; use"
                " --hooks command, or have git ignore it; nothing was changed"
            )
        new_mode = None if mode is None else mode & ~secrecy.OTHERS
    return Change(
        path=path,
        current=current,
        before=before,
        new=new,
        env=env,
        mode=mode,
        new_mode=new_mode,
        additions=wanted,
        launchers=settings_file.launchers(text) if wanted.wrap else {},
    )


def plan_uninstall(path: str) -> Change:
    """What uninstalling would do.

    Raises:
        SettingsError: The file cannot be read or changed, or is not what it should be.
    """
    path, current = _read(path)
    before, removed = _original(path, current)
    record = backup.load(path)
    mode = new_mode = _mode(path)
    if record and record.mode is not None and mode == record.mode & ~secrecy.OTHERS:
        new_mode = record.mode
    return Change(
        path=path,
        current=current,
        before=before,
        new=before,
        env={},
        mode=mode,
        new_mode=new_mode,
        removed=removed,
    )


def write(change: Change) -> bool:
    """Makes the change, whole or not at all.

    Returns:
        False where the file is not any more what the change was made for: plan it again.

    Raises:
        SettingsError: It cannot be written.
    """
    directory = os.path.dirname(change.path)
    try:
        if change.new is not None:
            os.makedirs(directory, exist_ok=True)
        with _locked(directory):
            if _read(change.path)[1] != change.current:
                return False
            with suppress(FileNotFoundError):
                os.unlink(change.path + backup.TEMPORARY_SUFFIX)  # what a kill has left
            if change.new == change.before:
                if change.changes:
                    backup.replace(change.path, change.new, change.new_mode)
                backup.remove(change.path)
            else:
                # First what undoes it, and what the hooks will run through: a kill in between
                # leaves a record and launchers of nothing.
                backup.save(
                    change.path,
                    backup.Record(
                        before=change.before,
                        digest=backup.digest(change.new or b""),
                        env=change.env,
                        mode=change.mode,
                    ),
                )
                for path, content in change.launchers.items():
                    hook_wrapping.write_launcher(path, content)
                backup.replace(change.path, change.new, change.new_mode)
    except OSError as error:
        name = error.filename or change.path
        raise SettingsError(f"{name}: cannot be written: {error.strerror}") from error
    return True


def _original(path: str, current: bytes | None) -> tuple[bytes | None, Removed | None]:
    """The file without orchwatch, and what had to be taken out of it for that."""
    record = backup.load(path)
    if record is not None and current is not None and backup.digest(current) == record.digest:
        return record.before, None
    if current is None:
        return None, None
    text, mark = _decode(path, current)
    with _named(path):
        if record is None:  # hooks are recognised without a record, variables are not
            removed = settings_file.remove(text, None, {})
        else:
            removed = settings_file.remove(text, _value(record.before), record.env)
    if not removed.anything:
        return current, removed
    return (mark + removed.text).encode(), removed


def _read(path: str) -> tuple[str, bytes | None]:
    path = os.path.realpath(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return path, None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{path}: is not a file")
    # Root could write it all the same, but a file without write bits is not meant to be changed.
    if not status.st_mode & _WRITE_BITS or not os.access(path, os.W_OK):
        raise SettingsError(f"{path}: is read-only; nothing was changed")
    try:
        return path, backup.read(path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def _load_if_there(path: str) -> bytes | None:
    try:
        return backup.read(path)
    except OSError:
        return None


def _decode(path: str, content: bytes) -> tuple[str, str]:
    """The text, and the byte order mark before it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8: {error.reason} at {error.start}") from error
    return (text[1:], text[0]) if text.startswith("\ufeff") else (text, "")


def _same(current: bytes, new: bytes) -> bool:
    """Whether both say the same: hooks of one event run in parallel, in no order."""
    return _unordered(_value(current)) == _unordered(_value(new))


def _value(content: bytes | None) -> dict[str, Any]:
    return settings_file.parse(_decode("", content or b"")[0])


def _unordered(value: dict[str, Any]) -> dict[str, Any]:
    hooks = {
        event: sorted(json.dumps(group, sort_keys=True) for group in groups)
        for event, groups in value.get("hooks", {}).items()
    }
    return {**value, "hooks": hooks}


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}; nothing was changed") from error


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Keeps a second installation waiting, wherever its own home is."""
    if not os.path.isdir(directory):  # nothing to write, then
        yield
        return
    handle = files.directory(directory)
    try:
        if not lock_exclusively(handle, _LOCK_WAIT_S):
            raise SettingsError(f"{directory}: another installation has been at work for too long")
        yield
    finally:
        os.close(handle)


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
