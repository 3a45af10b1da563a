"""The demo: the orchestration run once or again and again, checked and measured."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.analysis import snapshot
from orchwatch.demo import symbols
from orchwatch.demo.orchestration import Orchestration, Outcome
from orchwatch.errors import OrchwatchError
from orchwatch.recording import home
from orchwatch.reporters import colour, table
from orchwatch.runtime import signals
from orchwatch.sdk import configure
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Never

    from orchwatch.targets.target_table import Targets

# Between two rounds of a loop, so that the machine stays usable; no operation is measured there.
ROUND_PAUSE_S = 15.0
TERMINATED_EXIT_CODE = 128 + signal.SIGTERM


class DemoError(OrchwatchError):
    """The agents' results are wrong."""


@contextmanager
def opened(agents: int, files: int) -> Iterator[Demo]:
    """A demo over the user's own store; a signal in between ends every agent.

    Args:
        agents: Worker processes.
        files: How many source files of the standard library they read, or all if there are fewer.

    Raises:
        OrchwatchError: The table of targets breaks a rule, or the store cannot be read.
    """
    # First: no agent is to start only to find that what it measures cannot be shown.
    table_of_targets = target_table.load()
    with _ended_in_order(), _store(Path(home.home())) as store:
        yield Demo(agents, symbols.library_files(files), store, table_of_targets)


class Demo:
    """Rounds of the same orchestration; use it in `opened`."""

    def __init__(
        self, agents: int, files: list[str], store: Store, table_of_targets: Targets
    ) -> None:
        self._agents = agents
        self._files = files
        self._home = Path(home.home())
        self._store = store
        self._targets = table_of_targets
        self._started_ns = time.time_ns()
        self._expected: symbols.Totals | None = None

    def once(self) -> None:
        """One round, then the table of what it measured."""
        _say("Agents read Python's standard library: its functions, classes and imports.")
        outcome = self._round(_say)
        found = outcome.totals
        _say(f"found {found.functions} functions, {found.classes} classes, {found.imports} imports")
        self._check(found)
        _say("one process alone counts the same\n")
        table.render(self._measured(), sys.stdout, colour=colour.wanted(sys.stdout))
        _say(f"\nThe trace of this run: orchwatch trace {outcome.trace_id}")
        _say("With the agents' work, at any time: orchwatch current")
        _say_where_the_command_is()

    def loop(self) -> None:
        """Rounds until a signal ends them, with what a long-running process says about itself."""
        configure()
        number = 0
        try:
            while True:
                number += 1
                self._started_ns = time.time_ns()
                outcome = self._round(lambda _line: None)
                self._check(outcome.totals)
                took_s = (time.time_ns() - self._started_ns) / 1e9
                _say(f"round {number}: {took_s:.1f} s, trace {outcome.trace_id}")
                threading.Event().wait(ROUND_PAUSE_S)
        except (KeyboardInterrupt, SystemExit):
            _say(f"ended in round {number}")

    def _round(self, say: Callable[[str], None]) -> Outcome:
        root = self._home / "sessions"
        return Orchestration(
            root=root,
            files=self._files,
            agents=self._agents,
            refresh=lambda: table.render(self._measured(), io.StringIO(), colour=False),
            say=say,
        ).run()

    def _check(self, found: symbols.Totals) -> None:
        if self._expected is None:
            self._expected = symbols.count_alone(self._files)
        if found != self._expected:
            raise DemoError(f"the agents found {found}, one process alone {self._expected}")

    def _measured(self) -> snapshot.Snapshot:
        with signals.held_back():
            return snapshot.take(
                self._home,
                selection=Selection(since_ns=self._started_ns),
                store=self._store,
                targets=self._targets,
            )


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that every agent is ended."""

    def leave(_number: int, _frame: FrameType | None) -> Never:
        raise SystemExit(TERMINATED_EXIT_CODE)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _store(directory: Path) -> Store:
    # DuckDB turns a signal into an error of its own and swallows what it stands for.
    with signals.held_back():
        return Store(directory)


def _say_where_the_command_is() -> None:
    """`make demo` has set up an environment that the user's shell knows nothing of."""
    activate = Path(sys.executable).with_name("activate")
    if shutil.which("orchwatch") is None and activate.exists():
        _say(f"(your shell finds orchwatch after: . {os.path.relpath(activate)})")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
