"""What one process costs."""

from __future__ import annotations

import os
import subprocess
import time


def cost_s(command: list[str], stdin: bytes) -> tuple[float, float]:
    """Wall and CPU seconds (user and system, by `wait4`) of a process that must end well."""
    reading, writing = os.pipe()
    os.write(writing, stdin)  # small enough to wait in the pipe for whoever reads it
    os.close(writing)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL)
    os.close(reading)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return wall_s, usage.ru_utime + usage.ru_stime
