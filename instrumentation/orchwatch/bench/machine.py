"""Where a benchmark ran, and on what."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil

from orchwatch.analysis import comparison
from orchwatch.analysis.benchmark_runs import Result, Run
from orchwatch.recording import files
from orchwatch.recording.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_CPUINFO = "/proc/cpuinfo"
_CPUINFO_BYTES = 4 * 1024 * 1024
_GIT_TIMEOUT_S = 10.0
_DIGITS = 4


def run_of(results: Sequence[Result]) -> Run:
    """A run that ends now, here, of what is checked out in the current directory."""
    loops = [loop_s for result in results for loop_s in result.loops_s]
    return Run(
        results=tuple(results),
        machine={**described(), "noise": _rounded(comparison.spread(loops))},
        version=__version__,
        commit=commit(),
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def described() -> dict[str, Any]:
    """The machine; `load` is how many processes wanted to run in the last minute, on average."""
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str | None:
    """What is checked out here, `-dirty` behind it where files were changed; None without any."""
    head = git("rev-parse", "--verify", "HEAD")
    if head is None:
        return None
    # What git could not say is taken for changed: such a run would count as the commit's.
    is_clean = git("status", "--porcelain", "--untracked-files=no") == ""
    return head if is_clean else f"{head}-dirty"


def git(*words: str) -> str | None:
    """What git answers in the current directory; None where it cannot."""
    try:
        answer = subprocess.run(
            ["git", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _cpu() -> str:
    try:
        text = files.read(_CPUINFO, _CPUINFO_BYTES).decode(errors="replace")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, _DIGITS)
