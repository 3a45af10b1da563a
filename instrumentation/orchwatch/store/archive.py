"""The store's Parquet files: one for each segment of the spool, or for as much as was read of it.

The name says all that a reader has to know before it opens one, and appears by a rename, so a file
is complete or absent: `<segment>.<segment id>.<bytes of the segment>.<unreadable>.v3.parquet`.
The first version, without `v2`, lacks the columns `agent_id` and `covered_ns`; the second one lacks
the summaries that save most of the work of key figures:

- In the file's metadata, when agents were at work, see `islands`; not in a file that is called
  `v3p`, where that would take too much room.
- In `covered_ns` of a tool call until when its agent was at work anyway, if that was all the time.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.files import descriptor, reader
from orchwatch.recording.home import DIRECTORY_MODE, FILE_MODE
from orchwatch.store import islands
from orchwatch.store.segments import SPAN_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchwatch.store import engine
    from orchwatch.store.segments import Segment

_NAME = re.compile(
    rf"(?P<segment>(?P<family>{'|'.join(SPAN_FAMILIES)})-\d+)"
    r"\.(?P<id>[0-9a-f]{32})\.(?P<bytes>\d+)\.(?P<unreadable>\d+)(?P<version>\.v2|\.v3p?)?\.parquet"
)
_TEMPORARY_SUFFIX = ".tmp"
DAMAGED_SUFFIX = ".damaged"
"""What the name of a file that was found damaged ends in."""
_MAGIC = b"PAR1"

_CURRENT = ".v3"
# Without islands, where little overlaps: the spans themselves take less.
_PLAIN = ".v3p"
_ISLAND_BYTES_A_SPAN = 6
# PARQUET_VERSION v2 has delta encoding: times take 3.5 bytes instead of 8.
_NEW = "SELECT * EXCLUDE (segment, family) FROM spool WHERE segment = $segment"
_COPY = f"""
COPY (
    SELECT * EXCLUDE (covered_ns, reached_ns),
        CASE WHEN operation = $tool AND agent <> '' AND reached_ns >= end_ns
            THEN reached_ns END AS covered_ns
    FROM (
        SELECT *, max(CASE
            WHEN {islands.KIND} = {islands.KINDS["work"]} AND operation <> $tool THEN end_ns
        END) OVER (
            PARTITION BY session_id, agent, agent_id, status = 2 ORDER BY end_ns - duration_ns
        ) AS reached_ns
        FROM ({{rows}})
    ) ORDER BY end_ns
)
TO $path (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, USE_TMP_FILE false{{metadata}})
"""  # noqa: S608 - no value stands in it
_OUTDATED = """
SELECT *, CASE WHEN contains(attributes, $agent_key)
    THEN nullif(regexp_extract(attributes, $agent_value, 1), '') END AS agent_id,
    NULL::BIGINT AS covered_ns
FROM read_parquet($outdated)
"""
_SECOND = "SELECT * REPLACE (NULL::BIGINT AS covered_ns) FROM read_parquet($outdated)"
_LOAD = """
INSERT INTO spool BY NAME
SELECT $segment AS segment, $family AS family, * FROM ({rows})
"""
_AGENT_ID = {
    "agent_key": f'"{semconv.GEN_AI_AGENT_ID}"',
    "agent_value": rf'"{semconv.GEN_AI_AGENT_ID}","value":\s*\{{\s*"stringValue"\s*:\s*"([^"]*)"',
}


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """A file of the store.

    Attributes:
        path: Where it lies.
        segment: Name of the segment it was made from.
        family: That segment's family.
        id: That segment's id.
        source_bytes: How much of the segment it holds.
        unreadable: How many lines or spans of the segment could not be read.
        version: The version of its format, from its name.
    """

    path: Path
    segment: str
    family: str
    id: str
    source_bytes: int
    unreadable: int
    version: str = _CURRENT

    @property
    def current(self) -> bool:
        """Whether it is of the current version."""
        return self.version in (_CURRENT, _PLAIN)


def find(directory: Path) -> dict[str, Compacted]:
    """The files of the store by segment id, oldest segment first.

    Where one segment was compacted twice (a writer was late) the file that holds more of it counts.
    """
    found: dict[str, Compacted] = {}
    for compacted in _named(directory):
        if _whole(compacted.path):
            known = found.get(compacted.id)
            if known is None or _worth(known) < _worth(compacted):
                found[compacted.id] = compacted
    return found


def damaged(directory: Path, whole: Iterable[Compacted] = ()) -> list[Compacted]:
    """The files that are not whole, and those that were found damaged and set aside.

    Args:
        directory: The store's.
        whole: Files that are known to be whole, and need not be checked.
    """
    known = {compacted.path for compacted in whole}
    return [
        *_named(directory, DAMAGED_SUFFIX),
        *(
            compacted
            for compacted in _named(directory)
            if compacted.path not in known and not _whole(compacted.path)
        ),
    ]


def _named(directory: Path, suffix: str = "") -> Iterator[Compacted]:
    try:
        files = sorted(os.listdir(directory))
    except OSError:
        return
    for file in files:
        match = _NAME.fullmatch(file.removesuffix(suffix)) if file.endswith(suffix) else None
        if match is not None:
            yield Compacted(
                path=directory / file,
                segment=match["segment"],
                family=match["family"],
                id=match["id"],
                source_bytes=int(match["bytes"]),
                unreadable=int(match["unreadable"]),
                version=match["version"] or "",
            )


@contextmanager
def compaction_lock(directory: Path) -> Iterator[bool]:
    """Whether this process may compact: not while another does, or where it cannot write."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        lock = descriptor(directory / "lock", os.O_RDWR | os.O_CREAT, links=False)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        # Only the holder of the lock writes, so an unfinished file here is from a killed process.
        for leftover in directory.glob("*" + _TEMPORARY_SUFFIX):
            with suppress(OSError):  # of a directory, which no process holds
                leftover.unlink()
        yield True
    finally:
        os.close(lock)


def write(
    connection: engine.Connection,
    directory: Path,
    segment: Segment,
    *,
    source_bytes: int,
    unreadable: int,
    before: Compacted | None,
) -> Compacted:
    """Writes what the table `spool` holds of a segment; the caller holds the lock.

    Args:
        connection: Has the table.
        directory: The store's.
        segment: Which one.
        source_bytes: How much of it is read.
        unreadable: How many of its lines and spans could not be.
        before: The file that holds the beginning, which the table then lacks.

    Raises:
        OSError: It could not be written.
        engine.Error: It could not be written.
    """
    stem = f"{segment.name}.{segment.id}.{source_bytes}.{unreadable}"
    rows, asked = _NEW, {"segment": segment.id}
    if before is not None:
        rows += " UNION ALL BY NAME FROM read_parquet($before)"
        asked["before"] = str(before.path)
    path, version = _copy(connection, rows, asked, directory / stem, segment.modified_ns)
    return Compacted(
        path=path,
        segment=segment.name,
        family=segment.family,
        id=segment.id,
        source_bytes=source_bytes,
        unreadable=unreadable,
        version=version,
    )


def upgrade(connection: engine.Connection, file: Compacted) -> Compacted:
    """Writes a file of an earlier version anew, with all there is; the caller holds the lock.

    Raises:
        OSError: It could not be written.
        engine.Error: It could not be read or written.
    """
    stem = file.path.name.removesuffix(".parquet").removesuffix(file.version)
    rows, asked = _outdated(file)
    modified_ns = file.path.stat().st_mtime_ns
    path, version = _copy(connection, rows, asked, file.path.with_name(stem), modified_ns)
    file.path.unlink(missing_ok=True)
    return replace(file, path=path, version=version)


def load_outdated(connection: engine.Connection, file: Compacted) -> None:
    """Puts the rows of a file of an earlier version into the table `spool`.

    Raises:
        engine.Error: It could not be read.
    """
    rows, asked = _outdated(file)
    connection.execute(
        _LOAD.format(rows=rows), {**asked, "segment": file.id, "family": file.family}
    )


def _outdated(file: Compacted) -> tuple[str, dict[str, str]]:
    """The rows of a file of an earlier version, as SQL and its parameters."""
    asked = {"outdated": str(file.path)}
    return (_SECOND, asked) if file.version else (_OUTDATED, {**asked, **_AGENT_ID})


def is_plain(path: str) -> bool:
    """Whether a file of the store has no islands."""
    return path.endswith(_PLAIN + ".parquet")


def _copy(
    connection: engine.Connection, rows: str, asked: dict[str, str], stem: Path, modified_ns: int
) -> tuple[Path, str]:
    """Writes rows, given as SQL and its parameters, to a file; where, and of which form it is."""
    asked = {**asked, **islands.NAMES}
    found = connection.execute(islands.FIND.format(rows=rows), asked).fetchone()
    text, spans = found or ("[]", 0)
    plain = len(text) > max(_ISLAND_BYTES_A_SPAN * spans, len("[]"))
    version = _PLAIN if plain else _CURRENT
    path = stem.with_name(f"{stem.name}{version}.parquet")
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    metadata = "" if plain else f", KV_METADATA {{{islands.KEY}: $islands}}"
    asked |= {"path": str(temporary)} if plain else {"path": str(temporary), "islands": text}
    connection.execute(_COPY.format(rows=rows, metadata=metadata), asked)
    _publish(temporary, path, modified_ns)
    return path, version


def _publish(temporary: Path, path: Path, modified_ns: int) -> None:
    """Makes a file that is written whole one of the store's."""
    file = descriptor(temporary, os.O_RDWR, links=False)
    try:
        os.fchmod(file, FILE_MODE)
        # Its age is that of its operations, whenever they were compacted.
        os.utime(file, ns=(modified_ns, modified_ns))
        # The spool may drop the segment from now on: the file must survive a power cut.
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)


def _worth(file: Compacted) -> tuple[int, str]:
    return file.source_bytes, file.version


def _whole(path: Path) -> bool:
    """Whether the file ends as a Parquet file does; a power cut can leave an empty one."""
    try:
        with reader(path, links=False) as file:
            file.seek(-len(_MAGIC), os.SEEK_END)
            return file.read() == _MAGIC
    except OSError:
        return False
