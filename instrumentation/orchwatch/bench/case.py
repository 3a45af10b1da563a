"""What is benchmarked: one operation that can be done again and again."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, ClassVar, Self

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_HERE = "orchwatch.bench.components"
# By component: the classes that measure it.
COMPONENTS = {
    "session": (f"{_HERE}.sessions:SessionInit",),
    "state": (f"{_HERE}.state:StateQuery",),
    "hook": (f"{_HERE}.hooks:HookProcess",),
    "agent": (f"{_HERE}.agents:AgentSpawn",),
    "dashboard": (f"{_HERE}.dashboard:DashboardRefresh",),
    "event": (f"{_HERE}.events:EventProcess",),
    "persist": (f"{_HERE}.state:StatePersist", f"{_HERE}.state:StateSet"),
    "message": (f"{_HERE}.messages:MessageDeliver",),
    "dependency": (f"{_HERE}.dependencies:DependencyResolve",),
    "recovery": (f"{_HERE}.recovery:Recovery",),
}

# Besides, what settings of the runtime show in, and `orchwatch tune` measures.
TUNED = {
    "state": (f"{_HERE}.state:StateReread",),
    "agent": (f"{_HERE}.agents:AgentBatch",),
    "event": (f"{_HERE}.events:EventWrite",),
}
# The components that each setting of the runtime reaches.
REACHED = {
    "cache_bytes": ("state",),
    "flush_interval_s": ("event",),
    "batch_size": ("event",),
    "checkpoint_pages": tuple(name for name in COMPONENTS if name not in ("hook", "dashboard")),
    "pool_size": ("agent", "recovery"),
}


class IterationError(OrchwatchError):
    """One iteration did not do what it should have."""


class Case:
    """One operation of one component; a context manager that leaves no process and no file open.

    Every iteration calls `prepare`, `run` and `settle`; only `run` is timed.

    Args:
        workspace: A directory of the benchmark's own. What is there may be shared with other
            processes that benchmark the same.

    Attributes:
        operation: The name that the table of targets knows it by.
    """

    operation: ClassVar[str] = ""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def prepare(self) -> None:
        """What an iteration needs."""

    def run(self) -> float | None:
        """The operation itself.

        Returns:
            Seconds, where what counts ends in another process; None: as long as the call took.

        Raises:
            Exception: The iteration failed.
        """
        raise NotImplementedError

    def settle(self) -> None:
        """Puts away what `run` has left; called after a failure, too."""

    def close(self) -> None:
        """Ends and closes all that was opened."""


def cases(component: str, *, tuned: bool = False) -> list[type[Case]]:
    """The classes that measure a component; `tuned`: those of `TUNED`, too."""
    more = TUNED.get(component, ()) if tuned else ()
    return [pkgutil.resolve_name(path) for path in (*COMPONENTS[component], *more)]
