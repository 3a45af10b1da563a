"""DuckDB as this product uses it: in memory, bounded, offline, leaving no files behind."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

try:
    # The engine alone. The package around it adds relations and expressions that are not used
    # here, and takes 0.1 s longer to import than all the rest.
    import _duckdb as duckdb
except ModuleNotFoundError:
    try:
        import duckdb  # type: ignore[no-redef]
    except ModuleNotFoundError as error:
        raise OrchwatchError(
            "reading what was measured needs DuckDB;"
            " install it with: pip install 'orchwatch[local]'"
        ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Connection = duckdb.DuckDBPyConnection
Error = duckdb.Error
# Errors that a value can cause, as opposed to a lack of memory or a missing file.
BadInput = (duckdb.DataError, duckdb.ProgrammingError)
Select = duckdb.StatementType.SELECT
IOError = duckdb.IOException  # noqa: A001 - used as engine.IOError, beside engine.Error
OutOfMemory = duckdb.OutOfMemoryException

THREADS = 2
MEMORY_LIMIT = "1GiB"
_KEPT_WHEN_SPARING = "8MiB"


def connect(spill_directory: Path, *, sparing: bool = False) -> Connection:
    """A database in memory; `spill_directory` is made only when a query outgrows the memory limit.

    Args:
        spill_directory: Where what does not fit goes.
        sparing: Gives memory back as soon as it can, and uses one thread: for a process that runs
            for days beside others, and whose questions are small.

    JSON and Parquet are linked into DuckDB, so no extension has to be, or may be, downloaded.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1 if sparing else THREADS,
            "memory_limit": MEMORY_LIMIT,
            # By default this is `.tmp` in the current directory.
            "temp_directory": str(spill_directory),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            # A name in a query must not resolve to a variable of the calling Python code.
            "python_enable_replacements": False,
        },
    )
    # In a Python that a person types into, it would write one among what a program prints.
    connection.execute("SET enable_progress_bar = false")
    # The store's files never change once they are there.
    connection.execute("SET parquet_metadata_cache = true")
    if sparing:
        for setting in ("allocator_flush_threshold", "allocator_bulk_deallocation_flush_threshold"):
            connection.execute(f"SET {setting} = '{_KEPT_WHEN_SPARING}'")
        connection.execute("SET allocator_background_threads = true")
    return connection


def quoted(text: object) -> str:
    """A text, a path for one, as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C during a query is a `KeyboardInterrupt` again, which DuckDB makes a `RuntimeError`."""
    try:
        yield
    except (RuntimeError, duckdb.Error) as error:
        if (
            isinstance(error, duckdb.InterruptException)
            or "query interrupted" in str(error).lower()
        ):
            raise KeyboardInterrupt from error
        raise
