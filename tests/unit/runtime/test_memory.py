from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from orchwatch.runtime.memory import MemoryLimitError, MemoryManager
from orchwatch.targets import target_table
from orchwatch.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.runtime.memory import MemoryCheck

MIB = 1024 * 1024
TIMEOUT_S = 60.0

# A process of its own: what other tests hold in memory must not count. Blocks of a size that the C
# library keeps in its heap, and that only a trim gives back.
HOLDING = """
import sys
from orchwatch.runtime.memory import MemoryManager
class Blocks:
    def __init__(self, number):
        self.held = [bytes([n % 255 + 1]) * 65536 for n in range(number)]
    @property
    def size_bytes(self): return 65536 * len(self.held)
    def trim(self, size_bytes):
        while self.size_bytes > size_bytes: self.held.pop()
base = MemoryManager(1 << 40).resident_bytes()
blocks = Blocks(1600)  # 100 MiB
done = []
memory = MemoryManager(int((base + blocks.size_bytes) / float(sys.argv[1])))
memory.register("blocks", blocks)
memory.on_critical(persist=lambda: done.append("persist"), archive=lambda: done.append("archive"))
found = memory.check()
print(found.pressure, found.before_bytes - base, found.after_bytes - base, blocks.size_bytes, *done)
"""


class Sized:
    """A cache that says what it was told."""

    def __init__(self, size_bytes: int = 1000) -> None:
        self.size_bytes = size_bytes

    def trim(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def manager_at(share: float) -> MemoryManager:
    """One whose limit makes what this process uses now that share of it."""
    used_bytes = MemoryManager(1).resident_bytes()
    return MemoryManager(int(used_bytes / share))


@pytest.mark.parametrize(
    ("share", "pressure", "kept", "done"),
    [
        (0.5, "none", 100 * MIB, []),
        (0.87, "high", 50 * MIB, []),
        (1.1, "critical", 0, ["persist", "archive"]),
    ],
)
def test_the_nearer_the_limit_the_more_is_given_back(
    share: float, pressure: str, kept: int, done: list[str]
) -> None:
    out = subprocess.check_output([sys.executable, "-c", HOLDING, str(share)], text=True)
    found, before, after, size, *did = out.split()
    assert (found, int(size), did) == (pressure, kept, done)
    # What the system has back is what was let go, but for what lies between.
    assert abs(int(before) - 100 * MIB) < 20 * MIB
    assert abs(int(after) - kept) < 20 * MIB


def test_the_limit_is_the_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = target_table.load().levels["session.memory"].target
    assert MemoryManager().limit_bytes == target
    (tmp_path / "orchwatch.toml").write_text('[reliability."session.memory"]\ntarget = 123456789\n')
    monkeypatch.chdir(tmp_path)
    assert MemoryManager().limit_bytes == 123456789


def test_what_this_process_started_counts_too() -> None:
    """In a process of its own, since what other tests started would count."""
    code = """if True:
        import subprocess, sys
        import psutil
        from orchwatch.runtime.memory import MemoryManager

        memory = MemoryManager()
        held = "import sys; held = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
        child = subprocess.Popen(
            [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process = psutil.Process().memory_info().rss
        child.stdout.readline()
        both = memory.resident_bytes()
        child.communicate()
        print(process, both, memory.resident_bytes())
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    process, both, alone = map(int, ended.stdout.split())
    assert abs(alone - process) < 30 * MIB
    assert both - alone > 60 * MIB


def test_what_was_trimmed_is_an_operation_and_metrics() -> None:
    memory = manager_at(2.0)
    memory.register("one", Sized())
    with capture() as captured:
        found = memory.check()
    (trim,) = captured.operations
    assert trim.name == "memory.trim"
    assert trim.attributes["orchestration.memory.pressure"] == "critical"
    assert trim.attributes["orchestration.memory.before"] == found.before_bytes
    assert trim.attributes["orchestration.memory.after"] == found.after_bytes
    assert trim.attributes["orchestration.memory.limit"] == memory.limit_bytes
    assert [metric.value for metric in captured.gauges] == [found.before_bytes, found.after_bytes]
    (freed,) = captured.counters
    assert freed.name == "orchestration.memory.freed"
    assert freed.value == max(0, found.before_bytes - found.after_bytes)


def test_well_below_the_limit_nothing_is_touched() -> None:
    memory, cache = manager_at(0.5), Sized()
    memory.register("one", cache)
    with capture() as captured:
        assert memory.check().pressure == "none"
    assert cache.size_bytes == 1000
    assert captured.operations == []


def test_what_fails_keeps_nothing_else_from_being_done() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    done: list[str] = []
    memory, cache = manager_at(2.0), Sized()
    memory.on_critical(persist=fail)
    memory.on_critical(persist=lambda: done.append("persist"), archive=fail)
    memory.register("one", cache)
    with capture() as captured:
        found = memory.check()
    assert done == ["persist"]
    assert cache.size_bytes == 0
    assert [each.partition(":")[0] for each in found.failed] == ["persist", "archive"]
    assert captured.operations[0].error_type == "memory_trim_incomplete"


def test_in_a_with_block_it_looks_by_itself() -> None:
    looked = threading.Event()
    memory = MemoryManager(1, interval_s=0.001)
    memory.on_critical(persist=looked.set)
    with memory:
        assert looked.wait(TIMEOUT_S)
    assert threading.active_count() >= 1
    looked.clear()
    assert not any(thread.name == "memory" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: MemoryManager(0), "limit_bytes must be more than 0, not 0"),
        (lambda: MemoryManager(-5), "limit_bytes must be more than 0, not -5"),
        (lambda: MemoryManager(interval_s=0), "seconds above 0, not 0"),
        (lambda: MemoryManager(interval_s=float("nan")), "seconds above 0, not nan"),
        (lambda: MemoryManager(interval_s=float("inf")), "seconds above 0, not inf"),
    ],
)
def test_a_setting_that_is_none_is_one_clear_error(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(MemoryLimitError, match=reason):
        make()


def test_a_forked_child_measures_itself(tmp_path: Path) -> None:
    memory = MemoryManager(1)
    memory.resident_bytes()
    pid = os.fork()
    if not pid:
        own_bytes = psutil.Process().memory_info().rss
        (tmp_path / "said").write_text(f"{memory.resident_bytes()} {own_bytes}")
        os._exit(0)
    os.waitpid(pid, 0)
    measured_bytes, own_bytes = map(int, (tmp_path / "said").read_text().split())
    assert measured_bytes == pytest.approx(own_bytes, abs=8 * MIB)  # not with its parent


def test_a_cache_that_does_not_say_its_size_is_named_and_the_others_are_trimmed() -> None:
    class Broken(Sized):
        @property
        def size_bytes(self) -> int:
            raise RuntimeError("closed")

        @size_bytes.setter
        def size_bytes(self, value: int) -> None:
            pass

    memory, cache = manager_at(2.0), Sized()
    memory.register("broken", Broken())
    memory.register("one", cache)
    assert memory.check().failed == ("trim broken: RuntimeError: closed",)
    assert cache.size_bytes == 0


def test_it_watches_again_in_a_second_block() -> None:
    checked = threading.Event()

    class Watched(MemoryManager):
        def check(self) -> MemoryCheck:
            checked.set()
            return super().check()

    memory = Watched(interval_s=0.01)
    for _ in range(2):
        with memory:
            assert checked.wait(60.0)
        checked.clear()
    with memory, pytest.raises(MemoryLimitError, match="in use in a with block already"), memory:
        pass
