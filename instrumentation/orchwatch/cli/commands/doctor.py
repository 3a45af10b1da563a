"""`orchwatch doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.errors import CheckFailedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from orchwatch.monitor.check import Check

HELP = "say what works and what does not, each with its remedy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints every check.

    Raises:
        CheckFailedError: At least one of them failed.
    """
    from orchwatch.monitor.doctor import examine  # noqa: PLC0415 - slow, see `commands`

    checks = examine()
    sys.stdout.write(_as_json(checks) if arguments.format == "json" else _as_table(checks))
    failed = [check.name for check in checks if check.state == "fail"]
    if failed:
        raise CheckFailedError(f"{len(failed)} failed: {', '.join(failed)}")
    return 0


def _as_json(checks: Sequence[Check]) -> str:
    import json  # noqa: PLC0415 - as above
    from dataclasses import asdict  # noqa: PLC0415

    return json.dumps({"checks": [asdict(check) for check in checks]}, indent=2) + "\n"


def _as_table(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<8} {check.name:<{width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {check.remedy}")
    return "\n".join(lines) + "\n"
