from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from orchwatch.monitor.shutdown import ShutdownFlag

_SIGNALS = """
import os, signal, time
while True:
    os.kill({pid}, signal.SIGUSR1)
    time.sleep(0.0003)
"""


def test_a_signal_that_comes_within_a_wait_does_not_hang_it() -> None:
    flag = ShutdownFlag()
    before = signal.signal(signal.SIGUSR1, flag.set)
    sender = subprocess.Popen([sys.executable, "-c", _SIGNALS.format(pid=os.getpid())])
    try:
        while not flag.is_set:
            flag.wait(0.001)
        for _ in range(20_000):
            flag.wait(0.0001)
    finally:
        sender.kill()
        sender.wait()
        signal.signal(signal.SIGUSR1, before)
    assert flag.is_set


def test_setting_it_wakes_a_waiter() -> None:
    flag = ShutdownFlag()
    started_s = time.monotonic()
    threading.Timer(0.05, flag.set).start()
    flag.wait(250)
    assert flag.is_set
    assert time.monotonic() - started_s < 200


def test_a_wait_that_times_out_leaves_it_unset() -> None:
    flag = ShutdownFlag()
    flag.wait(0.01)
    flag.wait(-1)
    assert not flag.is_set
