from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from orchwatch.monitor.ending import Ending

_TELL = """
import os, signal, time
while True:
    os.kill({pid}, signal.SIGUSR1)
    time.sleep(0.0003)
"""


def test_a_signal_that_comes_within_a_wait_hangs_nobody() -> None:
    ending = Ending()
    before = signal.signal(signal.SIGUSR1, ending.tell)
    teller = subprocess.Popen([sys.executable, "-c", _TELL.format(pid=os.getpid())])
    try:
        while not ending.is_told:
            ending.wait(0.001)
        for _ in range(20_000):
            ending.wait(0.0001)
    finally:
        teller.kill()
        teller.wait()
        signal.signal(signal.SIGUSR1, before)
    assert ending.is_told


def test_who_waits_is_woken() -> None:
    ending = Ending()
    started_s = time.monotonic()
    threading.Timer(0.05, ending.tell).start()
    ending.wait(250)
    assert ending.is_told
    assert time.monotonic() - started_s < 200


def test_nobody_told_it_before_its_time() -> None:
    ending = Ending()
    ending.wait(0.01)
    ending.wait(-1)
    assert not ending.is_told
