"""Which recorder is active: by default the one that writes to the spool."""

from __future__ import annotations

import os

from orchwatch.recording.spool_recorder import SpoolRecorder

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.recording.recorder import Recorder

chosen: Recorder = SpoolRecorder()  # by `use`
recorder: Recorder = chosen  # where operations go: there, or where `divert` leads them
_diversion: Callable[[Recorder], Recorder] | None = None


def use(new: Recorder) -> None:
    """Makes all operations that start from now on go to another recorder."""
    global chosen, recorder  # noqa: PLW0603 - one a process, chosen once by configure()
    chosen = new
    recorder = new if _diversion is None else _diversion(new)


def divert(diversion: Callable[[Recorder], Recorder] | None) -> None:
    """Puts another recorder in front of the chosen one; None removes it."""
    global _diversion  # noqa: PLW0603
    _diversion = diversion
    use(chosen)


def _after_fork() -> None:
    if isinstance(chosen, SpoolRecorder):
        use(chosen.in_child())


os.register_at_fork(after_in_child=_after_fork)
