"""Advisory file locks that never make a host wait for long."""

import fcntl
import time

_POLL_S = 0.001


def lock_exclusively(file: int, wait_s: float) -> bool:
    """Takes an exclusive `flock` on a file descriptor; False if it is not free within `wait_s`.

    The wait is bounded because the holder may be a stopped process.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True
