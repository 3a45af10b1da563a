from __future__ import annotations

import signal
import threading

import pytest

from orchwatch.runtime import signals


def test_a_signal_acts_after_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), signals.held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        reached.append("the end of the block")
    assert reached == ["the end of the block"]


def test_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in signals.ENDING]
    with signals.held_back():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in signals.ENDING] == before


def test_other_threads_need_no_handlers() -> None:
    reached = []

    def work() -> None:
        with signals.held_back():
            reached.append("inside")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == ["inside"]
