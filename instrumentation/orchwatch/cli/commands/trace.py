"""`orchwatch trace`: what happened in one trace, from what is stored on this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    import argparse

    from orchwatch.monitor.store import Store

HELP = "show a trace as a tree: who called what, how often, for how long"


_ANY = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "trace_id",
        nargs="?",
        metavar="ID",
        help="its id, or the first digits of it (default: the latest)",
    )
    which.add_argument(
        "--slowest", metavar="NAME", help="the trace that holds that operation's slowest call"
    )
    which.add_argument(
        "--failed",
        nargs="?",
        const=_ANY,
        metavar="NAME",
        help="the trace of the latest operation that failed, of all or of that name",
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
    from orchwatch.reporters import json_document, tree  # noqa: PLC0415

    with Store(Path(home())) as store:
        trace_id = _chosen(arguments, store)
        found = spans.trace(store, trace_id)
    if not found:
        raise OrchwatchError(f"trace: no span of {trace_id} is stored in {home()}")
    if arguments.format == "json":
        json_document.render([asdict(span) for span in found], sys.stdout)
    else:
        tree.render(found, sys.stdout)
    return 0


def _chosen(arguments: argparse.Namespace, store: Store) -> str:
    from orchwatch.home import home  # noqa: PLC0415 - as above
    from orchwatch.monitor import spans  # noqa: PLC0415

    if arguments.trace_id:
        return _whole(str(arguments.trace_id), store)
    if arguments.slowest is not None:
        found = spans.slowest_trace_id(store, arguments.slowest)
        none = f"{arguments.slowest} was not measured yet in {home()}; see orchwatch current"
    elif arguments.failed is not None:
        found = spans.latest_failed_trace_id(store, arguments.failed or None)
        none = f"no {arguments.failed or 'operation'} has failed in {home()}"
    else:
        found = spans.latest_trace_id(store)
        none = f"nothing was measured yet in {home()}; orchwatch demo shows how it looks"
    if found is None:
        raise OrchwatchError(f"trace: {none}")
    return found


def _whole(start: str, store: Store) -> str:
    """The one id that begins so; the same where there is none."""
    from orchwatch.monitor import spans  # noqa: PLC0415 - as above

    found = spans.trace_ids(store, start)
    if len(found) > 1:
        raise OrchwatchError(f"trace: {start} begins more than one id: {', '.join(found)}")
    return found[0] if found else start
