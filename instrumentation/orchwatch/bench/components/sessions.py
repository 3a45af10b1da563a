"""Sessions: from the construction of their manager to status `active`."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench.case import Case, IterationError
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from pathlib import Path


class SessionInit(Case):
    """Opens a new session each time, and removes it."""

    operation = semconv.SESSION_INIT

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._numbers = itertools.count(1)
        self._opened: SessionStateManager | None = None

    def run(self) -> None:
        name = f"init-{os.getpid()}-{next(self._numbers)}"
        self._opened = SessionStateManager(self.workspace, name)
        if self._opened.status != "active":
            raise IterationError(f"session {name} is {self._opened.status}, not active")

    def settle(self) -> None:
        if self._opened is not None:
            self._opened.cleanup()
            self._opened = None

    def close(self) -> None:
        self.settle()
