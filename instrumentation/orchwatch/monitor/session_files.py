"""The session files of Claude Code below its projects folders, found and followed by polling.

A session is `<project>/<session>.jsonl` with its sub-agents' files somewhere below
`<project>/<session>/`. A session that was written to lately is looked at on every poll; all others
take turns, so that thousands of old ones cost next to nothing and one that is resumed is still seen
within `_ROUND_S`.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

from orchwatch.monitor.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_SUFFIX = ".jsonl"
_ROUND_S = 1.0
# Sub-agents may write for long while their parent waits.
_HOT_S = 1800.0
_MAX_DEPTH = 6
_MAX_UNSEEN = 100_000
# A directory changed this lately may change again without its time moving on.
_SETTLED_NS = 1_000_000_000


class _Directory:
    """A directory's entries, listed again only when it has changed."""

    __slots__ = ("directories", "files", "listed_ns", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.listed_ns = -1
        self.files: list[str] = []
        self.directories: list[str] = []

    def refresh(self) -> bool:
        """Lists it if need be; whether it had to."""
        try:
            modified_ns = os.stat(self.path).st_mtime_ns
            if modified_ns == self.listed_ns:
                return False
            with os.scandir(self.path) as entries:
                found = [(entry.path, entry.is_dir()) for entry in entries]
        except OSError:
            was_there = bool(self.files or self.directories)
            self.listed_ns, self.files, self.directories = -1, [], []
            return was_there
        self.files = sorted(path for path, is_dir in found if path.endswith(_SUFFIX) and not is_dir)
        self.directories = sorted(path for path, is_dir in found if is_dir)
        settled = time.time_ns() - modified_ns > _SETTLED_NS
        self.listed_ns = modified_ns if settled else -1
        return True


class _Session:
    """One session's own file and everything below its directory."""

    __slots__ = ("changed_s", "directories", "path", "since_s", "tails")

    def __init__(self, path: str, since_s: float) -> None:
        self.path = path
        self.since_s = since_s
        self.tails: dict[str, Tail] = {}
        self.directories: dict[str, _Directory] = {}
        self.changed_s = -math.inf

    def look_below(self) -> list[str]:
        """The files below its directory."""
        waiting = [(self.path.removesuffix(_SUFFIX), 0)]
        files: list[str] = []
        seen = {}
        while waiting:
            path, depth = waiting.pop()
            directory = self.directories.get(path) or _Directory(path)
            directory.refresh()
            seen[path] = directory
            files += directory.files
            if depth < _MAX_DEPTH:
                waiting += [(below, depth + 1) for below in directory.directories]
        self.directories = seen
        return files


class SessionFiles:
    """All session files below some folders.

    Args:
        roots: The projects folders, which need not exist yet, each with a moment in Unix seconds:
            a file that was never seen and was last written to before it is history, left to the
            importer. When it grows after all, it is followed from there on.
        positions: What `positions` returned in the process before.

    Attributes:
        left: How many files were left to the importer.
    """

    def __init__(self, roots: Mapping[str, float], positions: Mapping[str, Sequence[Any]]) -> None:
        self._roots = [(_Directory(path), since_s) for path, since_s in roots.items()]
        # Of files that were not looked at yet, or are gone and may come up under another name.
        self._unseen = dict(positions)
        self._inodes = {position[0]: path for path, position in positions.items()}
        self._projects: dict[str, tuple[_Directory, float]] = {}
        self._sessions: dict[str, _Session] = {}
        self._turns: list[_Session] = []
        self._next_round_s = -math.inf
        self.left = 0
        self._rounds = 0

    def positions(self) -> dict[str, Sequence[Any]]:
        """How far each file has been read, by path."""
        seen = {
            path: tail.position()
            for session in self._sessions.values()
            for path, tail in session.tails.items()
        }
        return {**self._unseen, **seen}

    def restart(self, paths: Collection[str]) -> list[Tail]:
        """Takes nothing as read of some files.

        Returns:
            Those that are there.
        """
        found = [
            tail
            for session in self._sessions.values()
            for path, tail in session.tails.items()
            if path in paths
        ]
        for tail in found:
            tail.restart()
        for path in paths:
            self._unseen.pop(path, None)
        return found

    @property
    def complete(self) -> bool:
        """Whether every session was looked at by now."""
        return self._rounds > 1

    def poll(self, now_s: float, interval_s: float) -> Iterator[list[Tail]]:
        """The files that have changed: all those of one session at a time.

        Args:
            now_s: The monotonic clock.
            interval_s: How often this is called, in seconds.
        """
        if now_s >= self._next_round_s and not self._turns:
            self._rounds += 1
            self._next_round_s = now_s + _ROUND_S
            self._find_sessions()
            self._turns = list(self._sessions.values())
        hot = [one for one in self._sessions.values() if now_s - one.changed_s < _HOT_S]
        share = max(1, math.ceil(len(self._sessions) * interval_s / _ROUND_S))
        turn, self._turns = self._turns[:share], self._turns[share:]
        for session in hot:
            yield self._look(session, now_s, below=True)
        for session in turn:
            if not self._rests(session):
                # A session that was not looked at yet may have sub-agents that write already.
                # Where its own file is missing, nothing else shows that they have begun to.
                below = not session.directories or session.path not in session.tails
                yield self._look(session, now_s, below=below)

    def _find_sessions(self) -> None:
        # A sum asks every one; `any` would stop at the first that has changed.
        if sum(root.refresh() for root, _ in self._roots):
            self._projects = {
                path: (self._projects.get(path, (_Directory(path),))[0], since_s)
                for root, since_s in self._roots
                for path in root.directories
            }
        elif not sum(project.refresh() for project, _ in self._projects.values()):
            return
        found: dict[str, _Session] = {}
        for project, since_s in self._projects.values():
            project.refresh()
            # The directory of a session may outlive its file, or come first.
            below = [f"{directory}{_SUFFIX}" for directory in project.directories]
            for path in (*project.files, *below):
                found[path] = self._sessions.get(path) or _Session(path, since_s)
        for path in self._sessions.keys() - found.keys():
            for tail in list(self._sessions[path].tails):
                self._lose(self._sessions[path], tail)
        self._sessions = found

    @staticmethod
    def _rests(session: _Session) -> bool:
        """Whether a session that was not written to lately still is not."""
        tail = session.tails.get(session.path)
        try:
            return tail is not None and not tail.has_changed(os.stat(session.path))
        except OSError:
            return False

    def _look(self, session: _Session, now_s: float, *, below: bool) -> list[Tail]:
        paths = [session.path]
        changed = []
        if below:
            paths += session.look_below()
            for gone in session.tails.keys() - set(paths):
                self._lose(session, gone)
        for path in paths:
            try:
                status = os.stat(path)
            except OSError:
                self._lose(session, path)
                continue
            tail = session.tails.get(path)
            if tail is None:
                tail = session.tails[path] = self._new_tail(session, path, status)
                if time.time() - status.st_mtime < _HOT_S:
                    session.changed_s = now_s
            if tail.has_changed(status):
                session.changed_s = now_s
                changed.append(tail)
        return changed

    def _new_tail(self, session: _Session, path: str, status: os.stat_result) -> Tail:
        stored = path if path in self._unseen else self._inodes.get(status.st_ino, "")
        position = self._unseen.pop(stored, None)
        if position is not None:
            tail = Tail.restored(path, position)
            if stored != path:
                tail.size_bytes = -1  # an inode may be another file's by now: it has to be read
            return tail
        tail = Tail(path=path)
        if status.st_mtime < session.since_s:
            tail.skip_to_end()
            self.left += 1
        return tail

    def _lose(self, session: _Session, path: str) -> None:
        tail = session.tails.pop(path, None)
        if tail is None:
            return
        self._unseen[path] = tail.position()
        self._inodes[tail.inode] = path
        while len(self._unseen) > _MAX_UNSEEN:
            oldest = next(iter(self._unseen))
            self._inodes.pop(self._unseen.pop(oldest)[0], None)
