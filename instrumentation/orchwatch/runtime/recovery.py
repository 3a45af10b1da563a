"""Recovery: after the death of any of a session's processes, the session as it was acknowledged."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.metrics import count
from orchwatch.recording.operation import operation
from orchwatch.runtime import processes, session_paths
from orchwatch.runtime.tasks import MAX_ATTEMPTS, TaskGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.runtime.session_state import SessionStateManager

GRACE_S = 2.0
# As `recording.files.replace` calls what it has not yet put in place.
_TEMPORARY = re.compile(r".*\.(\d+)\.tmp")


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What recovery found, and mended.

    Attributes:
        ended: So many processes that a supervisor which is gone had started were ended.
        requeued: The tasks that a process which is gone had claimed, and that are ready again.
        failed: Those of them that had been lost too often to be tried again.
        removed: So many half-written files were removed.
        steps_s: Seconds that each step took, by its name.
    """

    ended: int
    requeued: tuple[str, ...]
    failed: tuple[str, ...]
    removed: int
    steps_s: dict[str, float] = field(default_factory=dict)


def run(
    state: SessionStateManager, *, max_attempts: int = MAX_ATTEMPTS, grace_s: float = GRACE_S
) -> Recovery:
    """Bring a session back to its last acknowledged write, whichever process was killed, and when.

    What was acknowledged is in the database already, and what was not is not: opening it sees to
    that. What is left to do is ended here: processes without a supervisor, claims without a
    process, files without an owner. Processes that live are left alone, so it may run at any
    time, and in several processes at once: each claim is requeued once.

    Args:
        state: The session, open.
        max_attempts: See `TaskGraph`.
        grace_s: Seconds between SIGTERM and SIGKILL for processes without a supervisor.

    Raises:
        StateError: The database is damaged; its checkpoints may be whole, see `restore`.
    """
    steps_s: dict[str, float] = {}
    with operation(semconv.RECOVERY_RUN, {semconv.SESSION_ID: state.id}) as op:
        with _timed("processes", steps_s):
            # First: what they still do would be done beside the next owner.
            ended = processes.end_all(lambda: _orphans(state.id), grace_s)
        with _timed("state", steps_s):
            state.verify()
        with _timed("tasks", steps_s):
            graph = TaskGraph(state, max_attempts=max_attempts)
            lost = graph.requeue_lost()
            failed = tuple(task for task in lost if graph.get(task).status == "failed")
        with _timed("files", steps_s):
            removed = sum(map(_remove, _half_written(state)))
        requeued = tuple(task for task in lost if task not in failed)
        _tell(op, ended=ended, requeued=len(requeued), failed=len(failed), removed=removed)
        for step, took_s in steps_s.items():
            op.set_attribute(f"{semconv.RECOVERY_STEP_PREFIX}{step}", took_s)
    return Recovery(ended=ended, requeued=requeued, failed=failed, removed=removed, steps_s=steps_s)


def _tell(op: operation, **found: int) -> None:
    for what, number in found.items():
        op.set_attribute(f"{semconv.RECOVERY_FOUND}.{what}", number)
        if number:
            attributes = {semconv.RECOVERY_KIND: what}
            count(semconv.RECOVERY_FOUND, number, attributes, unit="{item}")


def _orphans(session_id: str) -> list[int]:
    """The processes of the session whose supervisor is gone."""

    def is_orphaned(mark: str) -> bool:
        of, _, supervisor = mark.partition(" ")
        return of == session_id and not processes.is_running(supervisor)

    return processes.marked(is_orphaned)


def _half_written(state: SessionStateManager) -> Iterator[Path]:
    path = state.path
    archived = session_paths.archived(path)
    own = {session_paths.view(path).name, session_paths.NEWEST_VIEW, path.name, archived.name}
    found = [*path.parent.glob("*.tmp"), *archived.parent.glob("*.tmp")]
    all_own = (session_paths.checkpoints(path), session_paths.logs(path))
    for path in [*found, *(file for directory in all_own for file in directory.rglob("*.tmp"))]:
        named = _TEMPORARY.fullmatch(path.name)
        of_session = path not in found or path.name.rsplit(".", 2)[0] in own
        if named and of_session and not processes.runs(int(named[1])):
            yield path


def _remove(path: Path) -> int:
    try:
        path.unlink()
    except OSError:  # another recovery was faster, or it is a directory, held by no one
        return 0
    return 1


@contextmanager
def _timed(step: str, steps_s: dict[str, float]) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    steps_s[step] = time.perf_counter() - started_s
