"""Memory of a session, held below its target: caches are trimmed before it is reached."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol, Self

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.metrics import count, gauge
from orchwatch.recording.operation import operation
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import psutil

    from orchwatch.targets.target_table import Targets

Pressure = Literal["none", "high", "critical"]

TARGET = "session.memory"
# Shares of the limit. Source: requirements, MemoryManager.monitor_memory_usage().
HIGH_SHARE = 0.80
CRITICAL_SHARE = 0.95
# What high pressure leaves of a cache; critical pressure leaves nothing.
_KEPT_SHARE = 0.5
CHECK_INTERVAL_S = 10.0


class MemoryLimitError(OrchwatchError):
    """A memory manager cannot be set up; the message names the setting and the rule."""


class Cache(Protocol):
    """What can be trimmed."""

    @property
    def size_bytes(self) -> int:
        """What it holds."""

    def trim(self, size_bytes: int) -> None:
        """Let go of something, until it holds no more than this."""


@dataclass(frozen=True, kw_only=True)
class MemoryCheck:
    """One look at the memory, and what was done.

    Attributes:
        pressure: `high` from 80 % of the limit, `critical` from 95 %.
        before_bytes: Resident memory, of this process and those it started, before anything.
        after_bytes: The same afterwards.
        limit_bytes: The limit.
        failed: What of the registered could not be done, in words.
    """

    pressure: Pressure
    before_bytes: int
    after_bytes: int
    limit_bytes: int
    failed: tuple[str, ...] = ()


class MemoryManager:
    """Trims what was registered as the session's memory nears its limit.

    The memory is the resident set of this process and of all that it started: what the table's
    `session.memory` is about. From 80 % of the limit, registered caches are halved and what is
    free is given back to the system; from 95 % they are emptied, then everything that was
    registered to be persisted is, and what was registered to be archived. What it gained is
    measured, and recorded as `orchestration.memory.freed`.

        with MemoryManager() as memory:
            memory.register("files", file_manager)
            memory.on_critical(persist=state.checkpoint)

    Args:
        limit_bytes: The limit; by default the target of `session.memory` in the table.
        targets: The table; by default the shipped one with the user's changes.
        interval_s: Seconds between two looks while it is used in a `with` block.
    """

    def __init__(
        self,
        limit_bytes: int | None = None,
        *,
        targets: Targets | None = None,
        interval_s: float = CHECK_INTERVAL_S,
    ) -> None:
        if limit_bytes is None:
            limit_bytes = int((targets or target_table.load()).levels[TARGET].target)
        if not 0 < limit_bytes < math.inf:
            raise MemoryLimitError(f"limit_bytes must be more than 0, not {limit_bytes!r}")
        if not 0 < interval_s <= threading.TIMEOUT_MAX:
            raise MemoryLimitError(
                f"interval_s must be a finite number of seconds above 0, not {interval_s!r}"
            )
        self.limit_bytes = limit_bytes
        self._interval_s = interval_s
        self._caches: dict[str, Cache] = {}
        self._persist: list[Callable[[], object]] = []
        self._archive: list[Callable[[], object]] = []
        self._process: psutil.Process | None = None
        self._checking = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise MemoryLimitError("the memory manager is in use in a with block already")
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def register(self, name: str, cache: Cache) -> None:
        """Have a cache trimmed under pressure; one registered earlier under the name is let go."""
        self._caches[name] = cache

    def on_critical(
        self,
        *,
        persist: Callable[[], object] | None = None,
        archive: Callable[[], object] | None = None,
    ) -> None:
        """Have something done under critical pressure, after caches were emptied.

        Args:
            persist: Writes to disk what is only in memory, and lets go of it.
            archive: Puts away what is old; called after all that persist.
        """
        if persist is not None:
            self._persist.append(persist)
        if archive is not None:
            self._archive.append(archive)

    def check(self) -> MemoryCheck:
        """Look at the memory, and trim where it must be."""
        with self._checking:
            before_bytes = self.resident_bytes()
            pressure = self._pressure(before_bytes)
            gauge(semconv.MEMORY_USAGE, before_bytes, unit="By")
            if pressure == "none":
                return MemoryCheck(
                    pressure=pressure,
                    before_bytes=before_bytes,
                    after_bytes=before_bytes,
                    limit_bytes=self.limit_bytes,
                )
            with operation(semconv.MEMORY_TRIM, {semconv.MEMORY_PRESSURE: pressure}) as op:
                failed = self._trim(pressure)
                _compact()
                after_bytes = self.resident_bytes()
                op.set_attribute(semconv.MEMORY_BEFORE, before_bytes)
                op.set_attribute(semconv.MEMORY_AFTER, after_bytes)
                op.set_attribute(semconv.MEMORY_LIMIT, self.limit_bytes)
                if failed:
                    op.fail("memory_trim_incomplete")
            gauge(semconv.MEMORY_USAGE, after_bytes, unit="By")
            freed_bytes = max(0, before_bytes - after_bytes)
            attributes = {semconv.MEMORY_PRESSURE: pressure}
            count(semconv.MEMORY_FREED, freed_bytes, attributes, unit="By")
            return MemoryCheck(
                pressure=pressure,
                before_bytes=before_bytes,
                after_bytes=after_bytes,
                limit_bytes=self.limit_bytes,
                failed=tuple(failed),
            )

    def resident_bytes(self) -> int:
        """Resident memory of this process and of all that it started, in bytes.

        What processes share counts for each of them, as RSS does.
        """
        import psutil  # noqa: PLC0415 - slow, and only who manages memory needs it

        if self._process is None or self._process.pid != os.getpid():  # a forked child is another
            self._process = psutil.Process()
        total_bytes = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.Error):  # gone meanwhile
                total_bytes += process.memory_info().rss
        return total_bytes

    def _pressure(self, used_bytes: int) -> Pressure:
        if used_bytes >= CRITICAL_SHARE * self.limit_bytes:
            return "critical"
        return "high" if used_bytes >= HIGH_SHARE * self.limit_bytes else "none"

    def _trim(self, pressure: Pressure) -> list[str]:
        failed: list[str] = []
        kept_share = _KEPT_SHARE if pressure == "high" else 0.0
        for name, cache in list(self._caches.items()):
            _attempt(f"trim {name}", partial(_keep, cache, kept_share), failed)
        if pressure == "critical":
            for persist in list(self._persist):
                _attempt("persist", persist, failed)
            for archive in list(self._archive):
                _attempt("archive", archive, failed)
        return failed

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            self.check()


def _keep(cache: Cache, share: float) -> None:
    cache.trim(int(cache.size_bytes * share))


def _attempt(what: str, do: Callable[[], object], failed: list[str]) -> None:
    """Does one thing; where it fails, the others are all the more needed."""
    try:
        do()
    except Exception as error:  # noqa: BLE001 - the program's own code; the check says it
        failed.append(f"{what}: {type(error).__name__}: {error}")


def _compact() -> None:
    """Give what is free back to the system: Python's own first, then the C library's."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc has it, others do not
        ctypes.CDLL(None).malloc_trim(0)
