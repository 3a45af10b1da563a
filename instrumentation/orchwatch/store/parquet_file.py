"""A small table as a Parquet file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchwatch.errors import OrchwatchError
from orchwatch.store import engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TABLE = "CREATE TABLE found AS SELECT unnest(from_json($rows, $shape), recursive := true)"
_COPY = "COPY found TO {path} (FORMAT parquet, USE_TMP_FILE false)"


def write(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, str], path: str, spill: Path
) -> None:
    """Writes them.

    Args:
        rows: By column.
        types: DuckDB's, by column.
        path: Where to.
        spill: See `engine.connect`.

    Raises:
        OrchwatchError: It cannot be written.
    """
    connection = engine.connect(spill)
    try:
        asked = {"rows": json.dumps(list(rows)), "shape": json.dumps([dict(types)])}
        connection.execute(_TABLE, asked)
        connection.execute(_COPY.format(path=engine.quoted(path)))
    except engine.Error as error:
        raise OrchwatchError(f"{path} cannot be written: {error}") from error
    finally:
        connection.close()
