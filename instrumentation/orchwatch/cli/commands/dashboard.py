"""`orchwatch dashboard`: what happens on this machine, live, in a terminal."""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchwatch.cli import filters, window
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse

    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store
    from orchwatch.tui.question import Question

HELP = "watch operations, agents, alerts and traces live, and go deeper with a key"

_NS = 1_000_000_000
_STREAMS = (("standard input", 0), ("standard output", 1), ("standard error", 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--replay", metavar="FILE", help="look at what orchwatch export --bundle has packed"
    )
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until a person leaves.

    Raises:
        UsageError: There is no terminal that it could use, or a window is none.
        OrchwatchError: What it needs is not installed, or a filter matches nothing.
    """
    _check_terminal()
    window.check(arguments)
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.store import bundle  # noqa: PLC0415

    try:
        from orchwatch.tui.app import Dashboard  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise OrchwatchError(
            "dashboard needs Textual; install it with: pip install 'orchwatch[tui]'"
        ) from error
    from orchwatch.tui.outlook import Forecaster  # noqa: PLC0415
    from orchwatch.tui.question import Question  # noqa: PLC0415

    names = Question.__dataclass_fields__
    asked = Question(**{name: getattr(arguments, name) for name in names})
    with ExitStack() as stack:
        directory, project, replay = Path(home()), Path.cwd(), None
        if arguments.replay is not None:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="orchwatch-replay-")))
            project = directory  # figures of the project here are none of those packed
            replay = bundle.unpack(arguments.replay, directory)
            asked = _replayed(asked, replay.end_ns)

        def choose(question: Question, store: Store) -> Chosen:
            given = Namespace(default_since=arguments.default_since, **vars(question))
            return filters.chosen(given, store, directory)

        failed = Dashboard(
            directory,
            project,
            asked,
            choose,
            live=replay is None,
            forecaster=Forecaster(directory),
        ).run()
    if failed is not None:
        raise failed
    return 0


def _replayed(asked: Question, end_ns: int) -> Question:
    """Up to the last span, and from the first one: what this machine does now is no part of it."""
    until = asked.until or datetime.fromtimestamp(end_ns / _NS + 1e-3, UTC).isoformat()
    return replace(asked, since=asked.since or window.ALL, until=until)


def _check_terminal() -> None:
    """Refuses what is no terminal, or one that cannot move its cursor.

    Raises:
        UsageError: It is.
    """
    for name, number in _STREAMS:
        if not _is_terminal(number):
            raise UsageError(
                f"dashboard: needs a terminal, and {name} is none;"
                " orchwatch current prints the same figures"
            )
    kind = os.environ.get("TERM", "")
    if kind in ("", "dumb", "unknown"):
        raise UsageError(
            f"dashboard: TERM={kind}: this terminal cannot move its cursor;"
            " orchwatch current prints the same figures"
        )


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:  # closed
        return False
