"""`orchwatch dashboard`: what happens on this machine, live, in a terminal."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from orchwatch.cli import filters, window
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse

    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store
    from orchwatch.tui.question import Question

HELP = "watch operations, agents, alerts and traces live, and go deeper with a key"

_STREAMS = (("standard input", 0), ("standard output", 1), ("standard error", 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
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

    from orchwatch.recording.home import home  # noqa: PLC0415

    try:
        from orchwatch.tui.app import Dashboard  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise OrchwatchError(
            "dashboard needs Textual; install it with: pip install 'orchwatch[tui]'"
        ) from error
    from orchwatch.tui.question import Question  # noqa: PLC0415

    directory = Path(home())

    def choose(question: Question, store: Store) -> Chosen:
        asked = Namespace(default_since=arguments.default_since, **vars(question))
        return filters.chosen(asked, store, directory)

    names = Question.__dataclass_fields__
    asked = Question(**{name: getattr(arguments, name) for name in names})
    failed = Dashboard(directory, Path.cwd(), asked, choose).run()
    if failed is not None:
        raise failed
    return 0


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
