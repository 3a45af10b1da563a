"""Files read and written without holding up the event loop: cached, in batches, bounded."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from types import TracebackType

    StrPath = str | os.PathLike[str]

_Result = TypeVar("_Result")
_Path = TypeVar("_Path", bound="str | os.PathLike[str]")

CACHE_BYTES = 32 * 1024 * 1024
MAX_FILE_BYTES = 64 * 1024 * 1024
IN_FLIGHT = 8
_CHUNK_BYTES = 1024 * 1024
# Two writes within one tick of the kernel's clock leave the same time behind.
_TICK_NS = 20_000_000


class FileError(OrchwatchError):
    """A file cannot be read or written; the message names it and the reason."""


@dataclass(frozen=True, kw_only=True)
class FileStatistics:
    """What a manager's cache did and holds.

    Attributes:
        hits: Reads that were answered from it.
        misses: Reads of the file itself.
        evictions: Files that made room for others.
        size_bytes: What it holds.
    """

    hits: int
    misses: int
    evictions: int
    size_bytes: int


class _Version(NamedTuple):
    """What a file was when it was read; one that is replaced or written differs."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


class AsyncFileManager:
    """Reads and writes of one event loop, done by a few threads; close it, or use `async with`.

    A file is read again once its size or its times (in nanoseconds) or its inode is another. What
    is written appears as a whole, and writes to one path follow each other. A cancelled call ends
    only when nothing of it goes on: the file is then the old one or the new one.

        async with AsyncFileManager() as manager:
            found = await manager.read_many(["a.json", "b.json"])
            await manager.write("c.json", b"{}")

    Args:
        cache_bytes: What is kept of the files that were read, those used least recently out first;
            0 keeps nothing.
        in_flight: So many files are read or written at once; others wait for their turn.
        max_file_bytes: A larger file is an error.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = CACHE_BYTES,
        in_flight: int = IN_FLIGHT,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        for name, value, least in (
            ("cache_bytes", cache_bytes, 0),
            ("in_flight", in_flight, 1),
            ("max_file_bytes", max_file_bytes, 1),
        ):
            if type(value) is not int or value < least:
                raise FileError(f"{name} must be an int of at least {least}, not {value!r}")
        self._cache_bytes = cache_bytes
        self._max_file_bytes = max_file_bytes
        self._places = asyncio.Semaphore(in_flight)
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="files")
        self._writing: dict[str, tuple[asyncio.Lock, int]] = {}
        # The memory manager trims from a thread of its own.
        self._changing = threading.Lock()
        self._cache: OrderedDict[str, tuple[_Version, bytes]] = OrderedDict()
        self._size_bytes = self._hits = self._misses = self._evictions = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """What the cache holds."""
        return self._size_bytes

    @property
    def statistics(self) -> FileStatistics:
        """What the cache did up to now."""
        with self._changing:
            return FileStatistics(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                size_bytes=self._size_bytes,
            )

    async def read(self, path: StrPath) -> bytes:
        """What a file holds.

        Raises:
            FileError: It cannot be read, is no regular file, or is too large.
        """
        name = _absolute(path)
        return await self._in_thread(lambda: self._read(name))

    async def read_many(self, paths: Iterable[StrPath]) -> dict[str, bytes | FileError]:
        """What files hold, each one once, by the paths as they were given.

        One that cannot be read costs no other: its error stands in its place.
        """

        async def attempt(name: str) -> bytes | FileError:
            try:
                return await self.read(name)
            except FileError as error:
                return error

        names = list(dict.fromkeys(os.fspath(path) for path in paths))
        async with asyncio.TaskGroup() as group:
            found = {name: group.create_task(attempt(name)) for name in names}
        return {name: task.result() for name, task in found.items()}

    async def write(self, path: StrPath, content: bytes, *, sync: bool = False) -> None:
        """Replace a file as a whole.

        Args:
            path: Where it lies.
            content: The new content.
            sync: Whether it must survive a power cut.

        Raises:
            FileError: It cannot be written, and is as it was.
        """
        name = _absolute(path)
        async with self._alone(name):
            await self._in_thread(lambda: self._write(name, content, sync=sync))

    async def write_many(self, contents: Mapping[_Path, bytes], *, sync: bool = False) -> None:
        """Replace files, each as a whole; the first error ends it, and others may be written.

        Raises:
            FileError: One cannot be written, and is as it was.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for path, content in contents.items():
                    group.create_task(self.write(path, content, sync=sync))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def trim(self, size_bytes: int) -> None:
        """Let go of what was used least recently, until the cache holds no more than this."""
        with self._changing:
            self._trim(size_bytes)

    def close(self) -> None:
        """Let go of the threads and the cache; safe to call again."""
        self._threads.shutdown()
        self.trim(0)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        async with self._places:
            try:
                future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            except RuntimeError as error:
                raise FileError("the file manager is closed") from error
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                # Nothing is to go on behind the back of who cancelled it.
                while not future.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([future])
                if not future.cancelled():
                    future.exception()  # no caller asks for it any more
                raise

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One writer of a path at a time, in the order they came."""
        lock, users = self._writing.get(name) or (asyncio.Lock(), 0)
        self._writing[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._writing.pop(name)
            if users > 1:
                self._writing[name] = lock, users - 1

    def _read(self, name: str) -> bytes:
        with self._changing:
            known = self._cache.get(name)
        try:
            if known is not None and _version(os.stat(name)) == known[0]:
                with self._changing:
                    self._hits += 1
                    if name in self._cache:
                        self._cache.move_to_end(name)
                return known[1]
            return self._read_file(name)
        except OSError as error:
            with self._changing:
                self._forget(name)
            raise FileError(f"{name}: cannot be read: {error.strerror}") from error

    def _read_file(self, name: str) -> bytes:
        file = files.descriptor(name)
        try:
            before = os.fstat(file)
            content = self._content(file, name, before.st_size)
            version = _version(os.fstat(file))
        finally:
            os.close(file)
        settled = version == _version(before) and _is_settled(before)
        with self._changing:
            self._misses += 1
            self._forget(name)
            if settled and len(content) <= self._cache_bytes:
                self._cache[name] = version, content
                self._size_bytes += len(content)
                self._trim(self._cache_bytes)
        return content

    def _content(self, file: int, name: str, size_bytes: int) -> bytes:
        if size_bytes > self._max_file_bytes:
            raise files.TooLargeError(name, self._max_file_bytes)
        chunks = []
        room_bytes = self._max_file_bytes
        while chunk := os.read(file, _CHUNK_BYTES):
            room_bytes -= len(chunk)
            if room_bytes < 0:
                raise files.TooLargeError(name, self._max_file_bytes)
            chunks.append(chunk)
        return b"".join(chunks)

    def _write(self, name: str, content: bytes, *, sync: bool) -> None:
        try:
            files.replace(name, content, sync=sync)
        except OSError as error:
            raise FileError(f"{name}: cannot be written: {error.strerror}") from error
        with self._changing:
            self._forget(name)

    def _forget(self, name: str) -> None:
        known = self._cache.pop(name, None)
        if known is not None:
            self._size_bytes -= len(known[1])

    def _trim(self, size_bytes: int) -> None:
        while self._size_bytes > size_bytes:
            _name, (_version, content) = self._cache.popitem(last=False)
            self._size_bytes -= len(content)
            self._evictions += 1


def _absolute(path: StrPath) -> str:
    return os.path.abspath(path)


def _version(status: os.stat_result) -> _Version:
    return _Version(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_settled(status: os.stat_result) -> bool:
    """Whether a later write would leave another time behind."""
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK_NS
