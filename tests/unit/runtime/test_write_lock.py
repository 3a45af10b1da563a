from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import write_lock
from orchwatch.runtime.write_lock import WriteLock

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 60.0


@pytest.mark.parametrize("patience_s", [0.0, LIMIT_S], ids=["in the queue", "asking again"])
def test_who_waits_gets_the_lock_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(write_lock, "_PATIENCE_S", patience_s)
    first, second = WriteLock(tmp_path / "lock"), WriteLock(tmp_path / "lock")
    assert first.acquire(0.0)
    got = []
    waiting = threading.Thread(target=lambda: got.append(second.acquire(LIMIT_S)))
    waiting.start()
    first.release()
    waiting.join()
    assert got == [True]
    assert not first.acquire(0.0)
    second.release()
    assert first.acquire(LIMIT_S)
    first.close()
    second.close()


def test_who_gives_up_leaves_the_lock_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lock, "_PATIENCE_S", 0.0)
    holder, other = WriteLock(tmp_path / "lock"), WriteLock(tmp_path / "lock")
    assert holder.acquire(0.0)
    before = set(threading.enumerate())
    gc.collect()  # what other tests left open is closed now, not while descriptors are counted
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert not other.acquire(0.01)
    queued = set(threading.enumerate()) - before
    assert len(queued) == 3
    holder.release()
    for thread in queued:
        thread.join(LIMIT_S)
    assert len(os.listdir("/proc/self/fd")) == opened
    assert other.acquire(LIMIT_S)
    holder.close()
    other.close()
