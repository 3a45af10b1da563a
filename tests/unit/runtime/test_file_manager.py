from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.recording import files
from orchwatch.runtime.file_manager import AsyncFileManager, FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

TIMEOUT_S = 60.0
OLD_NS = time.time_ns() - 3_600_000_000_000


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, TIMEOUT_S))


def old(path: Path, content: bytes) -> Path:
    """A file that was written long ago; its times are the past's, but for the kernel's own."""
    path.write_bytes(content)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


def settle() -> None:
    """Until a write leaves another time behind than the last one did."""
    started_ns = time.time_ns()
    while time.time_ns() - started_ns < 30_000_000:
        pass


def test_what_is_read_again_unchanged_comes_from_the_cache(tmp_path: Path) -> None:
    async def work() -> None:
        path = old(tmp_path / "a", b"one")
        settle()
        async with AsyncFileManager() as manager:
            assert [await manager.read(path) for _ in range(3)] == [b"one"] * 3
            assert (manager.statistics.hits, manager.statistics.misses) == (2, 1)
            assert manager.size_bytes == 3

    run(work())


@pytest.mark.parametrize("seed", range(3))
def test_a_read_never_gives_what_a_file_held_before(tmp_path: Path, seed: int) -> None:
    """Same size, same times set back by hand, replaced, written in place: all are seen."""
    chance = random.Random(seed)

    async def work() -> None:
        path = tmp_path / "a"
        async with AsyncFileManager() as manager:
            for _ in range(60):
                content = bytes(chance.choices(b"ab", k=2))
                how = chance.randrange(3)
                if how == 0:
                    await manager.write(path, content)
                elif how == 1:
                    path.write_bytes(content)
                else:
                    (tmp_path / "b").write_bytes(content)
                    os.utime(tmp_path / "b", ns=(OLD_NS, OLD_NS))
                    (tmp_path / "b").replace(path)
                for _ in range(chance.randrange(3)):
                    assert await manager.read(path) == content

    run(work())


def test_the_cache_is_bounded_in_bytes_and_drops_what_was_used_least_recently(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        paths = [old(tmp_path / name, name.encode() * 40) for name in ("a", "b", "c")]
        large = old(tmp_path / "large", b"x" * 200)
        settle()
        async with AsyncFileManager(cache_bytes=100) as manager:
            for path in (*paths[:2], paths[0], paths[2], large):
                await manager.read(path)
                assert manager.size_bytes <= 100
            assert manager.statistics.evictions == 1
            hits = manager.statistics.hits
            await manager.read(paths[0])
            assert manager.statistics.hits == hits + 1
            await manager.read(paths[1])
            assert manager.statistics.hits == hits + 1
            manager.trim(0)
            assert manager.size_bytes == 0

    run(work())


def test_a_batch_reads_each_file_once_and_one_that_cannot_be_read_costs_no_other(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        a, b = old(tmp_path / "a", b"1"), old(tmp_path / "b", b"2")
        os.mkfifo(tmp_path / "pipe")
        async with AsyncFileManager(max_file_bytes=10) as manager:
            large = old(tmp_path / "large", b"x" * 11)
            wanted = [a, b, a, tmp_path / "none", tmp_path / "pipe", tmp_path, large]
            found = await manager.read_many(wanted)
            assert found[str(a)] == b"1"
            assert found[str(b)] == b"2"
            reasons = {name: str(each) for name, each in found.items() if type(each) is not bytes}
            assert reasons == {
                str(tmp_path / "none"): f"{tmp_path}/none: cannot be read: No such file or"
                " directory",
                str(tmp_path / "pipe"): f"{tmp_path}/pipe: cannot be read: it is a pipe, not a"
                " file",
                str(tmp_path): f"{tmp_path}: cannot be read: it is a directory, not a file",
                str(large): f"{large}: cannot be read: it holds more than 10 bytes",
            }
            assert manager.statistics.misses == 2

    run(work())


def test_writes_to_one_path_follow_each_other_and_each_appears_whole(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "a"
        contents = [bytes([n]) * 100_000 for n in range(30)]
        seen: set[bytes] = set()

        async def look() -> None:
            while len(seen) < 2 or contents[-1] not in seen:
                if path.exists():
                    seen.add(path.read_bytes())
                await asyncio.sleep(0)

        async with AsyncFileManager() as manager:
            looking = asyncio.create_task(look())
            async with asyncio.TaskGroup() as group:
                for content in contents:
                    group.create_task(manager.write(path, content))
            assert path.read_bytes() == contents[-1]
            looking.cancel()
        assert seen <= set(contents)
        assert os.listdir(tmp_path) == ["a"]

    run(work())


def test_many_files_are_written_and_what_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncFileManager() as manager:
            contents = {tmp_path / str(n): str(n).encode() for n in range(50)}
            await manager.write_many(contents, sync=True)
            assert {path: path.read_bytes() for path in contents} == contents
            with pytest.raises(FileError, match="nowhere/a: cannot be written: No such file"):
                await manager.write_many({tmp_path / "nowhere" / "a": b"", tmp_path / "b": b""})

    run(work())


def test_no_more_is_in_flight_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = threading.Lock()
    together = [0, 0]
    replace = files.replace

    def counted(*arguments: Any, **options: Any) -> None:
        with counting:
            together[0] += 1
            together[1] = max(together)
        replace(*arguments, **options)
        with counting:
            together[0] -= 1

    monkeypatch.setattr(files, "replace", counted)

    async def work() -> None:
        async with AsyncFileManager(in_flight=3) as manager:
            await manager.write_many({tmp_path / str(n): b"x" * 10_000 for n in range(100)})

    run(work())
    assert 1 <= together[1] <= 3


def held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Has a write wait in its thread: the first event says that it does, the second lets it go."""
    began, may_go = threading.Event(), threading.Event()
    replace = files.replace

    def waiting(*arguments: Any, **options: Any) -> None:
        began.set()
        assert may_go.wait(TIMEOUT_S)
        replace(*arguments, **options)

    monkeypatch.setattr(files, "replace", waiting)
    return began, may_go


def test_a_cancelled_write_ends_before_its_caller_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go = held_up(monkeypatch)

    async def work() -> None:
        async with AsyncFileManager() as manager:
            first = asyncio.create_task(manager.write(tmp_path / "a", b"first"))
            await asyncio.to_thread(began.wait, TIMEOUT_S)
            waits = asyncio.create_task(manager.write(tmp_path / "a", b"never"))
            await asyncio.sleep(0)
            first.cancel()
            waits.cancel()
            await asyncio.sleep(0)
            first.cancel()  # impatience changes nothing
            await asyncio.sleep(0)
            assert not first.done()
            may_go.set()
            found = await asyncio.gather(first, waits, return_exceptions=True)
            assert [type(each) for each in found] == [asyncio.CancelledError] * 2
            # Whole, and nothing follows it.
            assert (tmp_path / "a").read_bytes() == b"first"
            await manager.write(tmp_path / "a", b"second")
            assert (tmp_path / "a").read_bytes() == b"second"
            assert manager._writing == {}
        assert os.listdir(tmp_path) == ["a"]

    run(work())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: AsyncFileManager(cache_bytes=-1), "cache_bytes must be an int of at least 0"),
        (lambda: AsyncFileManager(in_flight=0), "in_flight must be an int of at least 1"),
        (lambda: AsyncFileManager(max_file_bytes=0), "max_file_bytes must be an int of at least"),
    ],
)
def test_a_setting_that_is_none_is_one_clear_error(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(FileError, match=reason):
        make()


def test_a_closed_manager_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        manager = AsyncFileManager()
        manager.close()
        manager.close()
        with pytest.raises(FileError, match="the file manager is closed"):
            await manager.read(old(tmp_path / "a", b""))

    run(work())
