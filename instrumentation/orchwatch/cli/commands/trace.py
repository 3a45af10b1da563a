"""`orchwatch trace`: what happened in one trace, from what is stored on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    import argparse

HELP = "show a trace as a tree: who called what, how often, for how long"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "trace_id", nargs="?", metavar="ID", help="32 hexadecimal digits (default: the latest)"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    """Prints the trace.

    Raises:
        OrchwatchError: Nothing is stored, or not that trace.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.home import home  # noqa: PLC0415
    from orchwatch.monitor import spans  # noqa: PLC0415
    from orchwatch.monitor.store import Store  # noqa: PLC0415
    from orchwatch.reporters import tree  # noqa: PLC0415

    with Store(Path(home())) as store:
        trace_id = arguments.trace_id or spans.latest_trace_id(store)
        if trace_id is None:
            raise OrchwatchError(f"trace: nothing was measured yet in {home()}")
        found = spans.trace(store, trace_id)
    if not found:
        raise OrchwatchError(f"trace: no span of {trace_id} is stored in {home()}")
    if arguments.format == "json":
        json.dump([asdict(span) for span in found], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        tree.render(found, sys.stdout)
    return 0
