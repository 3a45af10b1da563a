"""Which recorder is active: by default the one that writes to the spool."""

from __future__ import annotations

import os

from orchwatch.recording.spool_recorder import SpoolRecorder

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from orchwatch.recording.recorder import Recorder

recorder: Recorder = SpoolRecorder()


def use(new: Recorder) -> None:
    """Makes all operations that start from now on go to another recorder."""
    global recorder  # noqa: PLW0603 - one a process, chosen once by configure()
    recorder = new


def _after_fork() -> None:
    if isinstance(recorder, SpoolRecorder):
        use(recorder.in_child())


os.register_at_fork(after_in_child=_after_fork)
