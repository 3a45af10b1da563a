"""What an agent costs beside a plain process, as more of them run: `make bench-runtime`.

An agent says that it is ready, and waits; the floor is `subprocess.Popen` of the same command, and
the read of the same line. The ratio is what hooks, limits, watching, and the operation that is
recorded for each add.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING

from orchwatch.runtime.agents import AgentPool, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = (10, 100, 1_000)
MEASURED = 50
_READY = "echo ready >/dev/fd/$ORCHWATCH_READY_FD; exec sleep 1000"
_COMMAND = ["sh", "-c", _READY]


def _took_ms(work: Callable[[int], object], count: int) -> float:
    took = []
    for number in range(count):
        started_s = time.perf_counter()
        work(number)
        took.append(time.perf_counter() - started_s)
    return median(took) * 1e3


def _plain() -> subprocess.Popen[bytes]:
    says, told = os.pipe()
    process = subprocess.Popen(
        _COMMAND,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ORCHWATCH_READY_FD": str(told)},
        pass_fds=(told,),
        process_group=0,
    )
    os.close(told)
    os.read(says, 100)
    os.close(says)
    return process


def main() -> None:
    """Prints a table."""
    print("agents   spawn ms   plain   stop ms   plain   close s", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ORCHWATCH_HOME"] = f"{directory}/home"
        for agents in AGENTS:
            _growth(agents)


def _growth(agents: int) -> None:
    measured = min(MEASURED, agents // 2)
    with AgentPool("bench", Limits(agents=agents, ready_s=60.0)) as pool:
        for number in range(agents - measured):
            pool.spawn(f"before-{number}", _COMMAND)
        spawn = _took_ms(lambda number: pool.spawn(f"agent-{number}", _COMMAND), measured)
        started: list[subprocess.Popen[bytes]] = []
        plain_spawn = _took_ms(lambda _: started.append(_plain()), measured)
        stop = _took_ms(lambda number: pool.stop(f"agent-{number}"), measured)

        def end(number: int) -> None:
            os.killpg(started[number].pid, signal.SIGTERM)
            started[number].wait()

        plain_stop = _took_ms(end, measured)
        began_s = time.perf_counter()
        pool.close()
        closed_s = time.perf_counter() - began_s
    print(
        f"{agents:6,} {spawn:10.2f} {spawn / plain_spawn:6.1f}x {stop:9.2f} "
        f"{stop / plain_stop:6.1f}x {closed_s:9.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
