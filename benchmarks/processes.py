"""What one process costs."""

from __future__ import annotations

import os
import subprocess
import time
from typing import NamedTuple


class Usage(NamedTuple):
    """Of one process: wall and CPU (user and system) seconds, and its largest resident memory."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def usage(command: list[str], stdin: bytes = b"", *, may_fail: bool = False) -> Usage:
    """Runs a process that must end well, unless it may fail, and measures it by `wait4`."""
    reading, writing = os.pipe()
    os.write(writing, stdin)  # small enough to wait in the pipe for its reader
    os.close(writing)
    errors = subprocess.DEVNULL if may_fail else None
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL, stderr=errors)
    os.close(reading)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not may_fail:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Usage(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def cost_s(command: list[str], stdin: bytes) -> tuple[float, float]:
    """Wall and CPU seconds of a process that must end well."""
    used = usage(command, stdin)
    return used.wall_s, used.cpu_s
