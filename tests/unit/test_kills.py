"""After every kill, what is stored and what was counted as lost are what was emitted.

ORCHWATCH_TEST_KILLS sets how many processes each test kills.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from orchwatch.recording import losses

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]

KILLS = int(os.environ.get("ORCHWATCH_TEST_KILLS", "8"))
LIMIT_S = 60

# Says how many operations have ended in a file of eight bytes, so that nothing waits for a reader.
EMITTING = """
import mmap, os, sys
from orchwatch import operation
with open(sys.argv[1], "r+b") as file: ended = mmap.mmap(file.fileno(), 8)
number = 0
while True:
    with operation("state.query"): pass
    number += 1
    ended[:8] = number.to_bytes(8, "little")
"""


def _emit_until_killed(start_python: Start, file: Path, after: int, **environ: str) -> int:
    """How many operations had ended; waits until that is `after` and a random moment."""
    file.write_bytes(bytes(8))
    process = start_python(EMITTING, file, **environ)
    deadline = time.monotonic() + LIMIT_S
    while int.from_bytes(file.read_bytes(), "little") < after:
        assert process.poll() is None
        assert time.monotonic() < deadline
    time.sleep(random.random() / 50)
    process.kill()
    process.wait(LIMIT_S)
    return int.from_bytes(file.read_bytes(), "little")


def test_stored_and_dropped_are_what_was_emitted_after_every_kill(
    tmp_path: Path, start_python: Start, lines: Lines
) -> None:
    emitted = 0
    for kill in range(1, KILLS + 1):
        # A segment is dropped every few operations, and the kill comes at any of its steps.
        emitted += _emit_until_killed(
            start_python,
            tmp_path / "ended",
            100,
            ORCHWATCH_SPOOL_SEGMENT_BYTES="3000",
            ORCHWATCH_SPOOL_BUDGET_BYTES="9000",
        )
        parsed, unreadable = lines("operations")
        stored = sum(bool(line["resourceSpans"]) for line in parsed)
        counted = losses.read()
        assert counted.keys() == {"budget_dropped"}
        # One that was written, or half of it, when its process was killed had not ended yet.
        assert 0 <= stored + unreadable + counted["budget_dropped"] - emitted <= kill


def test_what_an_unwritable_spool_refused_is_counted_after_every_kill(
    tmp_path: Path, home: Path, start_python: Start
) -> None:
    home.mkdir()
    (home / "spool").write_text("")
    emitted = 0
    for kill in range(1, KILLS + 1):
        emitted += _emit_until_killed(start_python, tmp_path / "ended", 50)
        counted = losses.read()
        assert counted.keys() == {"spool_unwritable"}
        assert 0 <= counted["spool_unwritable"] - emitted <= kill
