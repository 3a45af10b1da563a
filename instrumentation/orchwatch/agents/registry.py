"""The readers of coding agents' sessions that are here: this package's, and other packages'.

Another package adds one by an entry point of the group `orchwatch.agents` that names a subclass of
`orchwatch.agents.reader.Reader`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.agents.reader import Reader, RecordedSession, session_files
from orchwatch.agents.sessions.fields import text
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP = "orchwatch.agents"

# Asked in this order which files are theirs: those first that recognise theirs without doubt.
_BUILT_IN = {
    "codex": "orchwatch.agents.codex.reader:Codex",
    "gemini-cli": "orchwatch.agents.gemini.reader:Gemini",
    "opencode": "orchwatch.agents.opencode.reader:OpenCode",
    "qwen-code": "orchwatch.agents.qwen.reader:Qwen",
    "copilot-cli": "orchwatch.agents.copilot.reader:Copilot",
    "claude-code": "orchwatch.agents.claude_code.reader:ClaudeCode",
}


class Found(NamedTuple):
    """A session and who reads it."""

    reader: Reader
    session: RecordedSession


class Known(NamedTuple):
    """The readers that are here, and one line about each that cannot be used."""

    readers: list[Reader]
    broken: list[str]


def known() -> Known:
    """All readers: other packages' first, whose files ours might take for theirs."""
    readers: dict[str, Reader] = {}
    broken = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        whose = f"{safe(point.name)} (entry point {safe(point.value)})"
        try:
            reader = point.load()()
        except Exception as error:  # noqa: BLE001 - other people's code: theirs must not end ours
            broken.append(f"{whose}: {_said(error)}")
            continue
        if not isinstance(reader, Reader):
            broken.append(f"{whose}: it is no {Reader.__module__}.{Reader.__name__}")
        elif lacking := [name for name in ("name", "title") if not text(getattr(reader, name, ""))]:
            broken.append(f"{whose}: it has no {lacking[0]}")
        elif reader.name in (*_BUILT_IN, *readers):
            broken.append(f"{whose}: there is a reader named {safe(reader.name)} already")
        else:
            readers[reader.name] = reader
    return Known([*readers.values(), *map(_built_in, _BUILT_IN)], broken)


def named(name: str) -> Reader:
    """One reader.

    Raises:
        UsageError: There is none of that name.
    """
    if name in _BUILT_IN:
        return _built_in(name)
    readers = {reader.name: reader for reader in known().readers}
    if name not in readers:
        raise UsageError(f"no agent {safe(name)}; there are {', '.join(sorted(readers))}")
    return readers[name]


def find(
    readers: Sequence[Reader], paths: Sequence[str], broken: list[str] | None = None
) -> tuple[list[Found], list[str]]:
    """The sessions of these agents, the oldest first; and the files that are none of theirs.

    Args:
        readers: Who may read them.
        paths: Files and folders; where there are none, each agent's own.
        broken: Gets a line about each of another package's readers that fails, which is then left
            out; without it, that raises.

    Raises:
        UsageError: A path does not exist.
    """
    found: list[Found] = []
    strange = list(session_files(paths, [end for one in readers for end in one.suffixes]))
    for reader in readers:
        with guarded(reader, broken):
            own = strange
            if not paths:
                own = list(session_files(existing(reader), reader.suffixes))
            sessions, rest = reader.find(own)
            found += [Found(reader, session) for session in sessions]
            strange = rest if paths else [*strange, *rest]
    return found, strange


@contextmanager
def guarded(reader: Reader, broken: list[str] | None) -> Iterator[None]:
    """What another package's reader raises in it ends it, and becomes a line of `broken`."""
    try:
        yield
    except OrchwatchError:
        raise  # what is wrong is not the reader
    except Exception as error:
        if broken is None or reader.name in _BUILT_IN:
            raise
        broken.append(f"{safe(reader.name)}: {_said(error)}")


def written_ns(session: RecordedSession) -> int:
    """When it was last written to, Unix nanoseconds; 0 where its files are gone."""
    if session.written_ns:
        return session.written_ns
    times = [0]
    for file in session.files:
        with suppress(OSError):
            times.append(os.stat(file.path).st_mtime_ns)
    return max(times)


def existing(reader: Reader) -> list[str]:
    """The places of an agent's sessions that are there."""
    return [path for path in reader.places() if os.path.exists(path)]


def _said(error: Exception) -> str:
    return safe(f"{type(error).__name__}: {error}")


def _built_in(name: str) -> Reader:
    module, _, kind = _BUILT_IN[name].partition(":")
    reader: Reader = getattr(import_module(module), kind)()
    return reader
