"""`orchwatch sql`: a question of one's own to what is stored, in DuckDB's SQL."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from orchwatch.cli import destination

if TYPE_CHECKING:
    import argparse

HELP = "answer a SELECT over what is stored; docs/sql.md has its views and examples"

_NAME = "sql"
_FORMATS = ("table", "json", "csv", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "sql",
        metavar="SELECT",
        help="one statement that only reads: of ended_operations, all_spans, or values",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="table",
        help="default: %(default)s; docs/json.md has the keys of json",
    )
    destination.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the answer.

    Raises:
        UsageError: It is no SELECT, or asks for what is not there.
        OrchwatchError: The store cannot be read, or the file not be written.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.cli import filters  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import answer_table  # noqa: PLC0415
    from orchwatch.store.database import Store  # noqa: PLC0415
    from orchwatch.store.published import Question  # noqa: PLC0415

    parquet = None
    if arguments.format == "parquet":
        parquet = Path(destination.parquet_path(_NAME, arguments))
    with Store(Path(home()), filters.say) as store:
        question = Question(store, arguments.sql, output=parquet)
        if parquet is not None:
            destination.write_parquet(_NAME, arguments, lambda _: question.to_parquet())
            return 0
        answer = question.answer()
    file = io.StringIO()
    answer_table.WRITERS[arguments.format](answer, file)
    destination.write(_NAME, arguments, file.getvalue())
    return 0
