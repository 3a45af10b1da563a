"""What coding agents keep on this machine, and how much of it was imported and understood."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.agents.reader import OF_NO_SESSION, session_files, why_strange
from orchwatch.agents.registry import guarded, written_ns
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.import_record import imported
from orchwatch.agents.sessions.lines import size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.agents.reader import Reader, RecordedSession
    from orchwatch.agents.sessions.import_record import About

_MAX_RECORDS = 200  # by which a file has said of which version it is


@dataclass(frozen=True)
class Kept:
    """What one agent keeps.

    Attributes:
        reader: Who reads it.
        places: Where it keeps its sessions, and whether anything is there.
        sessions: How many there are.
        files: In how many files.
        size_bytes: How large these are.
        latest_ns: When the last one was written to, Unix nanoseconds; 0 where there is none.
        version: The agent's version, as that one says; empty where it does not.
        strange: Files among them that are no session's.
        unreadable: What could not be read, by reason.
        imported: How many sessions were imported, gone ones too.
        skipped: Lines of those that were passed over, by reason.
    """

    reader: Reader
    places: dict[str, bool]
    sessions: int
    files: int
    size_bytes: int
    latest_ns: int
    version: str
    strange: int
    unreadable: Counter[str]
    imported: int
    skipped: Counter[str]


def kept(readers: Iterable[Reader], broken: list[str] | None = None) -> list[Kept]:
    """Looks at what each agent keeps.

    Args:
        readers: Who reads it.
        broken: As for `registry.find`.
    """
    records = imported()
    found = []
    for reader in readers:
        with guarded(reader, broken):
            found.append(_kept(reader, [about for about in records if about.agent == reader.name]))
    return found


def _kept(reader: Reader, records: list[About]) -> Kept:
    places = {place: os.path.exists(place) for place in reader.places()}
    there = [place for place, exists in places.items() if exists]
    sessions, strange = reader.find(session_files(there, reader.suffixes))
    paths = {file.path for session in sessions for file in session.files}
    latest = max(sessions, key=written_ns, default=None)
    skipped: Counter[str] = Counter()
    reasons = Counter(map(why_strange, strange))
    for about in records:
        skipped.update(about.skipped)
    return Kept(
        reader,
        places,
        sessions=len(sessions),
        files=len(paths),
        size_bytes=sum(map(size_bytes, paths)),
        latest_ns=written_ns(latest) if latest else 0,
        version=_version(reader, latest) if latest else "",
        strange=reasons.pop(OF_NO_SESSION, 0),
        unreadable=reasons,
        imported=len(records),
        skipped=skipped,
    )


def _version(reader: Reader, session: RecordedSession) -> str:
    file = session.files[0]
    source = reader.source(file, Counter())
    reading = reader.file_reader(session, file, Claims())
    version = ""
    with suppress(OSError):
        for _ in range(_MAX_RECORDS):
            if version or not source.peek():
                break
            for record in source.take()[0]:
                reading.read_record(record)
            version = reading.version
    source.close()
    return version
