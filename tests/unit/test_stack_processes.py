from __future__ import annotations

import subprocess
import sys
import time

from process_state import Process

LIMIT_S = 60
MAIN_THREAD_ENDS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print("started", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_there_until_its_last_thread_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAIN_THREAD_ENDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        process = Process.of(child.pid)
        assert process is not None
        deadline = time.monotonic() + LIMIT_S
        while _state(child.pid) != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.is_alive()
        child.kill()
        while process.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]
