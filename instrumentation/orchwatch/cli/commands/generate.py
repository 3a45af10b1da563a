"""`orchwatch generate`: what derives from the table of targets (and from the commands)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

HELP = "write the files derived from the table of targets, or check them for drift"

# Columns of a list of files.
_MAX = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 3 when a file would change"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="another checkout, or a directory for all files that docker compose or your own"
        " servers read",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the generated files, and says what it did.

    Raises:
        UsageError: `--output` names nothing.
        CheckFailedError: `--check`, and at least one file has drifted.
    """
    # An unset variable of a script would write here.
    if arguments.output == "":
        raise UsageError("--output must name a directory, not ''")
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`

    from orchwatch.cli import reference  # noqa: PLC0415 - as above
    from orchwatch.mixin import generate  # noqa: PLC0415 - as above

    root = Path(arguments.output or ".")
    work = generate.check if arguments.check else generate.write
    pages = {reference.FILE: reference.page()}
    files = work(root, checkout=arguments.output is None, pages=pages)
    if arguments.check and files:
        names = ", ".join(map(str, files))
        raise CheckFailedError(f"out of date: {names}; orchwatch generate writes them")
    if not files:
        sys.stdout.write("nothing to write: every file is up to date\n")
    elif arguments.output is None:
        sys.stdout.write(f"wrote {', '.join(map(str, files))}\n")
        sys.stdout.write("a stack that runs reads them when it starts anew: make down up\n")
    else:
        _say_what_is_new(root, files)
    return 0


def _say_what_is_new(root: Path, files: Sequence[Path]) -> None:
    from orchwatch.mixin.stack_files import NEW_SUFFIX  # noqa: PLC0415 - as above

    sys.stdout.write(f"wrote or removed {len(files)} files in {root}\n")
    for path in files:
        if path.suffix == NEW_SUFFIX:
            sys.stdout.write(f"{path.stem} was changed and is kept; the new version is {path}\n")
    sys.stdout.write(f"cd {root} && docker compose up    # starts the stack\n")
