"""`--output`: a file that is written as a whole or not at all, else stdout."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TextIO


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declares it."""
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")


def write(command: str, arguments: argparse.Namespace, text: str) -> None:
    """Writes it all.

    Raises:
        OrchwatchError: The file cannot be written, and is as it was.
    """
    if arguments.output is None:
        sys.stdout.write(text)
        return
    put(command, arguments.output, text.encode("utf-8", "replace"))


def stream(
    command: str, arguments: argparse.Namespace, write_to: Callable[[TextIO], object]
) -> None:
    """The same for what is too large to be held: it is written as it is made.

    Args:
        command: Who asks.
        arguments: The options.
        write_to: Writes it all to a file.

    Raises:
        OrchwatchError: The file cannot be written; a plain one is as it was.
    """
    from orchwatch.recording import files  # noqa: PLC0415 - slow, see `commands`

    if arguments.output is None:
        write_to(sys.stdout)
        return
    path = os.path.realpath(arguments.output)
    temporary = f"{path}.{os.getpid()}.tmp" if _is_plain(arguments.output) else None
    try:
        descriptor = files.create(temporary) if temporary else files.writer_into(arguments.output)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                write_to(file)
            if temporary is not None:
                os.replace(temporary, path)
        except BaseException:
            if temporary is not None:
                os.unlink(temporary)
            raise
    except OSError as error:
        raise _unwritable(command, arguments.output, error) from error


def put(command: str, path: str, content: bytes) -> None:
    """Writes a file that a person names: through a link to it, and into a pipe or a device.

    Raises:
        OrchwatchError: It cannot be written; a plain file is as it was.
    """
    from orchwatch.recording import files  # noqa: PLC0415 - slow, see `commands`

    try:
        if _is_plain(path):
            files.replace(os.path.realpath(path), content)
        else:
            files.write_into(path, content)
    except OSError as error:
        raise _unwritable(command, path, error) from error


def write_parquet(command: str, arguments: argparse.Namespace, make: Callable[[str], None]) -> None:
    """Has a Parquet file made and puts it in place.

    Args:
        command: Who asks.
        arguments: The options.
        make: Writes to the path that it is given, which exists.

    Raises:
        UsageError: No file is named: a terminal is no place for one.
        OrchwatchError: The file cannot be written, and is as it was.
    """
    from orchwatch.recording import files  # noqa: PLC0415 - slow, see `commands`

    temporary = parquet_path(command, arguments)
    try:
        os.close(files.create(temporary))
        try:
            make(temporary)
            os.replace(temporary, os.path.realpath(arguments.output))
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise _unwritable(command, arguments.output, error) from error


def parquet_path(command: str, arguments: argparse.Namespace) -> str:
    """Where a Parquet file is made before it is put in place.

    Raises:
        UsageError: No file is named.
    """
    if arguments.output is None:
        raise UsageError(f"{command}: --format parquet needs --output FILE")
    if not _is_plain(arguments.output):
        raise UsageError(f"{command}: --output must be a plain file for --format parquet")
    return f"{os.path.realpath(arguments.output)}.{os.getpid()}.tmp"


def _is_plain(path: str) -> bool:
    """Whether a plain file lies there or may be made; a directory refuses to be replaced."""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def _unwritable(command: str, path: str, error: OSError) -> OrchwatchError:
    return OrchwatchError(f"{command}: {path} cannot be written: {error.strerror}")
