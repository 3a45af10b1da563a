"""`orchwatch doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import options
from orchwatch.errors import CheckFailedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from orchwatch.diagnosis.check import Check

# What is piped on is not wrapped: a check stays on its line.
_NO_WRAP = 10_000
# Columns of what a check found: a sentence with a path or two.
_MAX = 1000
_MAX_NAME = 40

HELP = "check what works and what does not, with a remedy for each problem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    options.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints every check.

    Raises:
        CheckFailedError: At least one of them failed.
    """
    from orchwatch.diagnosis.doctor import examine  # noqa: PLC0415 - slow, see `commands`

    checks = examine()
    if arguments.format == "json":
        from dataclasses import asdict  # noqa: PLC0415 - as above

        from orchwatch.reporters import json_document  # noqa: PLC0415

        document = {"checks": [asdict(check) for check in checks]}
        json_document.answer("doctor", document, sys.stdout)
    else:
        sys.stdout.write(_as_table(checks))
    failed = [check.name for check in checks if check.state == "fail"]
    if failed:
        raise CheckFailedError(f"{len(failed)} failed: {', '.join(failed)}")
    return 0


def _as_table(checks: Sequence[Check]) -> str:
    import shutil  # noqa: PLC0415 - as above
    import textwrap  # noqa: PLC0415

    from orchwatch.recording.safe_text import ljust, safe, width  # noqa: PLC0415

    room = max(width(safe(check.name, _MAX_NAME)) for check in checks)
    margin = " " * (len("unknown") + room + 4)
    wrap = textwrap.TextWrapper(
        shutil.get_terminal_size((_NO_WRAP, 0)).columns,
        subsequent_indent=margin,
        # Paths, names and addresses stay whole.
        break_on_hyphens=False,
        break_long_words=False,
    )
    lines = []
    for check in checks:
        name = ljust(safe(check.name, _MAX_NAME), room)
        lines += wrap.wrap(f"{check.state:<7}  {name}  {safe(check.found, _MAX)}")
        if check.remedy:
            lines += wrap.wrap(f"{margin}-> {safe(check.remedy, _MAX)}")
    return "\n".join(lines) + "\n"
