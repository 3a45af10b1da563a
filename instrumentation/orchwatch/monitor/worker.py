"""What needs DuckDB, in a process of its own: `python -m orchwatch.monitor.worker HOME TASK`.

DuckDB takes 50 MB to be there at all, and what it has once taken it gives back late. The monitor
needs it for seconds at its start and when segments are closed, so it is here that it comes and
goes. Answers are frames of `marshal` on standard output, which only the monitor reads, with the
same interpreter; a str says what went wrong.
"""

from __future__ import annotations

import marshal
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.store.database import Store

LOAD, COMPACT = "load", "compact"
LENGTH_BYTES = 4
FAMILIES = (spool.OPERATIONS, spool.UNDELIVERED)

_ROWS_PER_FRAME = 1000
_NICE = 5

# In the order of `EndedOperation`.
_STORED = """
SELECT operation, end_ns, duration_ns, status = 2, session_id, agent, agent_id,
    printf('%016x', span_id),
    CASE WHEN parent_span_id IS NOT NULL THEN printf('%016x', parent_span_id) END, service,
    nullif(regexp_extract(resource, $host_value, 1), ''),
    nullif(regexp_extract(resource, $pid_value, 1), '')
FROM read_parquet($path) WHERE operation IS NOT NULL AND end_ns >= $since_ns ORDER BY end_ns
"""
_VALUE = r'"{}","value":\s*\{{\s*"(?:stringValue|intValue)"\s*:\s*"?([^"}}]*)'
_STORED_NAMES = {
    "host_value": _VALUE.format(semconv.HOST_NAME),
    "pid_value": _VALUE.format(semconv.PROCESS_PID),
}
_EARLIER = """
SELECT count(*) FROM read_parquet($paths::VARCHAR[])
WHERE operation IS NOT NULL AND end_ns < $since_ns
"""
_COUNTED_TOO = """
SELECT DISTINCT printf('%016x', span_id) FROM operations
WHERE span_id IN (SELECT ('0x' || unnest($span_ids::VARCHAR[]))::UBIGINT)
"""


def main(home: str, task: str, *more: str) -> None:
    """Does one task.

    Args:
        home: The home directory.
        task: `LOAD`: what the store holds since a moment in Unix nanoseconds, and how far it has
            each segment; `COMPACT`: the segments that are closed, and which of the spans on
            standard input were counted as operations, too.
        *more: The moment.
    """
    os.nice(_NICE)  # processes that a user waits for go first
    try:
        from orchwatch.store.database import Store  # noqa: PLC0415 - DuckDB may not be there

        with Store(Path(home), sparing=True) as store:
            for answer in _load(store, Path(home), *more) if task == LOAD else _counted(store):
                _say(answer)
    except OrchwatchError as error:
        _say(str(error))


def _say(answer: Any) -> None:
    data = marshal.dumps(answer)
    sys.stdout.buffer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
    sys.stdout.buffer.flush()


def _load(store: Store, home: Path, since: str) -> Iterator[Any]:
    """First how far and how many ended earlier, then rows: family, and operations."""
    from orchwatch.store import archive  # noqa: PLC0415 - as above

    since_ns = int(since)
    files = archive.find(home / "store")
    of_both = [file for file in files.values() if file.family in FAMILIES]
    counted = [str(file.path) for file in of_both if file.family == spool.OPERATIONS]
    earlier = 0
    if counted:
        earlier = store.query(_EARLIER, {"paths": counted, "since_ns": since_ns})[0][0]
    yield {identity: file.source_bytes for identity, file in files.items()}, earlier
    # A file is as old as its newest operation. What may be counted twice comes last.
    ordered = sorted(
        (file.family != spool.OPERATIONS, file.path.stat().st_mtime_ns, str(file.path))
        for file in of_both
    )
    for is_late, modified_ns, path in ordered:
        if modified_ns < since_ns:
            continue
        rows = store.query(_STORED, {**_STORED_NAMES, "path": path, "since_ns": since_ns})
        if is_late:
            known = _counted_too(store, [row[7] for row in rows])
            rows = [row for row in rows if row[7] not in known]
        for start in range(0, len(rows), _ROWS_PER_FRAME):
            yield is_late, rows[start : start + _ROWS_PER_FRAME]


def _counted(store: Store) -> Iterator[Any]:
    yield _counted_too(store, sys.stdin.read().split())


def _counted_too(store: Store, span_ids: list[str]) -> set[str]:
    if not span_ids:
        return set()
    return {span_id for (span_id,) in store.query(_COUNTED_TOO, {"span_ids": span_ids})}


if __name__ == "__main__":
    main(*sys.argv[1:])
