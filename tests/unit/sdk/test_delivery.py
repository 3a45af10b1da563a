from __future__ import annotations

import os
import threading
import time

import pytest

from orchwatch.sdk import delivery
from orchwatch.sdk.delivery import Delivery

LIMIT_S = 10


class Server:
    """Takes batches, refuses them, or holds them until it is let go."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.kept: list[int] = []
        self.tried: list[int] = []
        self.up = True
        self.go = threading.Event()
        self.go.set()
        self.delivery: Delivery[int] = Delivery(self.send, self.kept.append)

    def send(self, batch: int) -> bool:
        self.tried.append(batch)
        assert self.go.wait(LIMIT_S)
        if self.up:
            self.taken.append(batch)
        return self.up


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(delivery, "SEND_LIMIT_S", 0.05)
    return Server()


def test_batches_are_sent_in_order_and_none_is_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_LIMIT_S", LIMIT_S)

    for batch in range(100):
        server.delivery.deliver(batch)

    assert server.taken == list(range(100))
    assert server.kept == []


def test_a_refused_batch_is_kept_and_for_a_while_nothing_is_tried(server: Server) -> None:
    server.up = False

    for batch in range(5):
        server.delivery.deliver(batch)

    assert server.kept == [0, 1, 2, 3, 4]
    assert server.tried == [0]


def test_after_that_while_batches_are_sent_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(delivery, "RETRY_AFTER_S", 0.0)
    server.up = False
    server.delivery.deliver(1)
    server.up = True

    server.delivery.deliver(2)

    assert (server.kept, server.taken) == ([1], [2])


def test_a_sender_that_raises_keeps_the_batch_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "RETRY_AFTER_S", 0.0)
    kept: list[int] = []
    sender: Delivery[int] = Delivery(lambda batch: 1 // batch > 0, kept.append)

    for batch in (0, 1, 0):
        sender.deliver(batch)

    assert kept == [0, 0]


def test_exit_does_not_wait_for_a_silent_server_and_all_is_kept(server: Server) -> None:
    server.go.clear()
    started = time.monotonic()

    for batch in range(50):
        server.delivery.deliver(batch)

    assert time.monotonic() - started < LIMIT_S
    assert server.kept == list(range(50))
    server.go.set()


def test_closing_ends_a_wait_that_has_begun_and_none_begins_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SEND_LIMIT_S", 60)
    server = Server()
    server.go.clear()
    waiting = threading.Thread(target=server.delivery.deliver, args=(1,))
    waiting.start()

    server.delivery.close_by(time.monotonic())
    waiting.join(LIMIT_S)
    server.delivery.deliver(2)

    assert not waiting.is_alive()
    assert sorted(server.kept) == [1, 2]
    server.go.set()


def test_many_threads_may_deliver_at_once_and_each_batch_ends_somewhere(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_AFTER_S", 0.0)

    def deliver(first: int) -> None:
        for batch in range(first, first + 100):
            server.delivery.deliver(batch)

    threads = [threading.Thread(target=deliver, args=(number * 100,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)

    assert {*server.taken, *server.kept} == set(range(800))


def test_a_forked_child_delivers_with_a_thread_of_its_own(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_LIMIT_S", LIMIT_S)
    server.delivery.deliver(1)
    pid = os.fork()
    if not pid:
        server.delivery.deliver(2)
        os._exit(server.taken != [1, 2])

    assert os.waitpid(pid, 0)[1] == 0
