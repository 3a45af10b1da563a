"""The contract of a coding agent's reader: where its sessions lie, and how they become facts.

A reader of another agent is a subclass of `Reader`, registered in `registry`. It only reads, and
only says what a line or a row says: which facts (`sessions.facts`) it stands for. What facts become
is the same for all agents, and made by `sessions`:

- Facts come in any order, twice or by half; each span is made once. Its id is derived from the
  session's, the turn's, the call's, so that a second import adds nothing.
- What never closes is closed as unfinished, with a reason. What a file does not say stays unknown:
  no fact is a guess.
- No fact holds a text of a conversation, a command, a path or an argument: ids, names, times,
  counts and outcomes only.
- Tokens mean one thing: see `sessions.facts.ApiUsage`. A call's outcome and the exit code of a
  command in it are two members of `sessions.facts.ToolEnded`.
- A kind of line that a reader does not know, or a schema newer than it knows, is counted in
  `FileReader.skipped` by reason, and shown by `orchwatch doctor`: never fatal.
- What could not be read but may be later, as behind a lock, is counted there with a reason that
  begins with `sessions.lines.UNREAD`: then nothing more is written of the session, and the next
  import reads it again.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from orchwatch.agents.sessions import databases
from orchwatch.agents.sessions.lines import LineFile, Source
from orchwatch.errors import UsageError
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.facts import Fact


OF_NO_SESSION = "file of no session"
"""Why a file that can be read is left out."""


@dataclass(frozen=True)
class SessionFile:
    """One file, or a session's part of a database.

    Attributes:
        path: Where it lies.
        agent_id: The sub-agent that it is about, None for a session's own file.
        identity: A digest that copies of one file share, as of its first line.
        size_bytes: How large it was when it was found.
        version: Of a database with many sessions: what differs when this one has changed. Empty
            for a file, which is looked at itself.
    """

    path: str
    agent_id: str | None
    identity: str
    size_bytes: int = 0
    version: str = ""


@dataclass(frozen=True)
class RecordedSession:
    """A session's files, its own before those of its sub-agents.

    Attributes:
        session_id: Its id.
        project: The name of the folder that it is about, as far as the files' places say so.
        files: Its files.
        began_ns: When its first record was written; 0 where nothing says so.
        written_ns: Of a database with many sessions: when this one was last written to. 0 for
            files, which say so themselves.
    """

    session_id: str
    project: str
    files: tuple[SessionFile, ...]
    began_ns: int = 0
    written_ns: int = 0


class FileReader(Protocol):
    """Reads the records of one file in their order; `sessions.record_reader` is most of one."""

    skipped: Counter[str]
    """What was passed over, by reason: of kinds that mean no loss with a `_HARMLESS` start."""

    @property
    def version(self) -> str:
        """The agent's own version, as the file says; empty where it does not."""

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""


class Reader:
    """Finds and reads the sessions of one coding agent; to be subclassed.

    Attributes:
        name: Its name in options and as the spans' `service.name`.
        title: Its name for people.
        provider: `gen_ai.provider.name` where a session does not say.
        suffixes: How its files end; with a `*` in it, what the whole name is like.
        knows: The newest version of the agent that the reader was tried with.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    provider: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)
    knows: ClassVar[str] = ""

    def places(self) -> list[str]:
        """The files and folders in which the agent keeps its sessions, there or not."""
        raise NotImplementedError

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        """The sessions in these files, the oldest first; and those of the files that are not its.

        A file that cannot be read, or is no session's, is not its. Never raises for what a file
        holds.
        """
        raise NotImplementedError

    def sessions_in(self, path: str) -> set[str]:
        """The sessions that a file is about which is no session's own; none of any other."""
        return set()

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> FileReader:
        """A reader of one file, from its start or from where `state` was taken.

        Args:
            session: Whose file it is.
            file: The file.
            claims: Who owns what several sessions hold, as forks do.
            state: What `FileReader.state` returned.
        """
        raise NotImplementedError

    def source(self, file: SessionFile, skipped: Counter[str]) -> Source:
        """The records of a file from its start.

        Args:
            file: The file.
            skipped: Counts what cannot be read, by reason.
        """
        return LineFile(file.path, skipped)

    def is_lost(self, session: RecordedSession) -> bool:
        """Whether the process that ran it is known to be gone, without having said so."""
        return False


def session_files(paths: Iterable[str], suffixes: Sequence[str]) -> Iterator[str]:
    """The files of such names in files and folders, by name; a file itself whatever its name.

    A folder that cannot be listed is given itself, so that it can be said.

    Raises:
        UsageError: A path does not exist.
    """
    for path in paths:
        if os.path.isdir(path):
            yield from below(path, suffixes)
        elif os.path.exists(path):
            yield path
        else:
            raise UsageError(f"{path}: no such file or directory")


def below(directory: str, suffixes: Sequence[str]) -> Iterator[str]:
    """The files with such endings in a folder, see `session_files`; nothing where it is gone."""
    endings = tuple(one for one in suffixes if "*" not in one)
    patterns = [one for one in suffixes if "*" in one]
    unlisted: list[str] = []

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            unlisted.append(error.filename)

    for parent, directories, names in os.walk(directory, onerror=note):
        directories.sort()
        for name in sorted(names):
            if name.endswith(endings) or any(fnmatchcase(name, one) for one in patterns):
                yield os.path.join(parent, name)
    yield from unlisted


def why_strange(path: str) -> str:
    """Why a file, or a folder that could not be listed, is no session's."""
    if os.path.isdir(path):
        return "unreadable folder"
    try:
        with files.reader(path) as stream:
            is_database = stream.read(len(databases.MAGIC)) == databases.MAGIC
    except OSError:
        return "unreadable file"
    if is_database:
        try:
            databases.rows(path, "SELECT 1 FROM sqlite_master LIMIT 1")
        except (OSError, sqlite3.Error):
            return "unreadable database"
    return OF_NO_SESSION
