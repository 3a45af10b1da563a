"""A process that benchmarks: it gets its tasks as JSON, and prints measurements, one a line.

It lives in a process group of its own, so that Ctrl-C reaches only the one that started it; when
that one hangs up or ends it, it leaves by itself, and with it all that it has started.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch.bench import measuring
from orchwatch.bench.case import Case, cases
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Never

# Of the session that the processes of a load share.
SHARED_SESSION = "shared"
WRITES = "writes"
LOAD = "load"


def main() -> int:
    """Does what the first argument says in JSON.

    The second and third are the numbers of the pipes to read from and to write to.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    into, out = int(sys.argv[2]), int(sys.argv[3])
    for pipe in (into, out):
        os.set_inheritable(pipe, False)  # noqa: FBT003 - it takes no keyword
    told = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(into, told), daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        files.write_all(out, json.dumps(message).encode() + b"\n")

    try:
        _work(json.loads(sys.argv[1]), send, told)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except Exception as error:  # noqa: BLE001 - said by the one who can reach the person
        named = "" if isinstance(error, OrchwatchError) else f"{type(error).__name__}: "
        send({"failed": f"{named}{error}"})
    return 0


def _work(
    task: dict[str, Any], send: Callable[[dict[str, Any]], None], told: threading.Semaphore
) -> None:
    workspace = Path(task["workspace"])
    reporter = measuring.Reporter(send)
    if "duration_s" in task:
        _load(task, workspace, reporter, told)
    else:
        for case in _opened_one_by_one(task, workspace):
            measuring.repeat(
                task["component"],
                case,
                task.get("operation") or case.operation,
                iterations=task["iterations"],
                warmup=task["warmup"],
                to=reporter,
                limit_s=task.get("limit_s", math.inf),
            )
    send({"done": True})


def _opened_one_by_one(task: dict[str, Any], workspace: Path) -> Iterator[Case]:
    for make in _made(task):
        with make(workspace) as case:
            yield case


def _made(task: dict[str, Any]) -> list[Callable[[Path], Case]]:
    from orchwatch.bench.components import own  # noqa: PLC0415 - most need none of it

    if "command" in task:
        return [lambda workspace: own.OwnCommand(workspace, task["command"])]
    if "callable" in task:
        return [lambda workspace: own.OwnCallable(workspace, task["callable"])]
    return list(cases(task["component"], tuned=task.get("tuned", False)))


def _load(
    task: dict[str, Any],
    workspace: Path,
    reporter: measuring.Reporter,
    told: threading.Semaphore,
) -> None:
    from orchwatch.runtime.session_state import SessionStateManager  # noqa: PLC0415 - slow

    every_s: float = task["every_s"]
    first_s = every_s * task["number"] / task["processes"]
    with ExitStack() as opened:
        shared = opened.enter_context(SessionStateManager(workspace, SHARED_SESSION))
        makes = [(component, make) for component in task["components"] for make in cases(component)]
        first = task["number"] * len(makes) // task["processes"]
        turns = makes[first:] + makes[:first]
        if every_s:  # of many processes, none gets to all of them
            del turns[max(0, math.ceil((task["duration_s"] - first_s) / every_s)) :]
        running = [(component, opened.enter_context(make(workspace))) for component, make in turns]
        write = _SharedWrite(workspace, shared)
        for _, case in running:
            measuring.once(case)  # each imports and compiles at its first time

        def after() -> Iterator[measuring.Sample]:
            taken_s, said = measuring.once(write)
            yield LOAD, write.operation, taken_s, measuring.empty_loop(), said

        reporter.flush(ready=True)
        told.acquire()
        late = measuring.at_a_rate(
            running,
            every_s=every_s,
            first_s=first_s,
            duration_s=task["duration_s"],
            to=reporter,
            after=after,
        )
        reporter.flush(measured=True, late=late, acknowledged=write.acknowledged)
        # What it takes to close is not what the others are to be measured under.
        told.acquire()


class _SharedWrite(Case):
    """Adds one to a number that all processes add to."""

    operation = "state.increment"

    def __init__(self, workspace: Path, shared: Any) -> None:
        super().__init__(workspace)
        self._shared = shared
        self.acknowledged = 0

    def run(self) -> None:
        self._shared.increment(WRITES)
        self.acknowledged += 1


def _leave(_number: int, _frame: FrameType | None) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what is open is closed now
    raise KeyboardInterrupt  # SystemExit is what the code under test may raise


def _listen(pipe: int, told: threading.Semaphore) -> None:
    """Hands on each word to go on; ends this process once the one that started it is gone."""
    while os.read(pipe, 1):
        told.release()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
