"""Sending to a server that may be slow, silent or gone, without waiting for it or losing anything.

The SDK's exporters retry and block for many seconds, at exit too. Here a dedicated thread sends one
batch at a time; the caller waits for it no longer than a limit, and what was not sent by then is
kept instead. After a failure nothing is sent for a while, so that a dead server costs neither time
nor memory.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from opentelemetry import context

if TYPE_CHECKING:
    from collections.abc import Callable

SEND_LIMIT_S = 2.0
RETRY_AFTER_S = 5.0

_Batch = TypeVar("_Batch")


class Delivery(Generic[_Batch]):
    """Sends batches, and keeps those that could not be sent.

    Args:
        send: Sends a batch; returns whether it arrived. May block or raise.
        keep: Takes a batch that was not sent. A batch that only took too long may still arrive, so
            storing a kept batch twice must be harmless.
    """

    def __init__(self, send: Callable[[_Batch], bool], keep: Callable[[_Batch], object]) -> None:
        self._send = send
        self._keep = keep
        self._deadline = float("inf")
        self._batch: _Batch | None = None  # the one that is being sent
        self._sent: bool | None = None  # whether the last one was sent, once that is known
        self._retry_at = 0.0
        self._start()
        # A child has none of its parent's threads.
        restart = weakref.WeakMethod(self._start)
        os.register_at_fork(after_in_child=lambda: (method := restart()) and method())

    def deliver(self, batch: _Batch) -> None:
        """Sends or keeps a batch; returns within `SEND_LIMIT_S`, or by the deadline."""
        with self._changed:
            now = time.monotonic()
            if self._batch is None and self._retry_at <= now < self._deadline:
                self._batch, self._sent = batch, None
                self._changed.notify_all()
                while self._sent is None:
                    limit = min(now + SEND_LIMIT_S, self._deadline)
                    if not self._changed.wait(max(limit - time.monotonic(), 0)):
                        break
                if self._sent:
                    return
                self._retry_at = time.monotonic() + RETRY_AFTER_S
        self._keep(batch)

    def close_by(self, deadline: float) -> None:
        """From now on all waiting ends at this time of the monotonic clock."""
        with self._changed:
            self._deadline = deadline
            self._changed.notify_all()

    def _start(self) -> None:
        self._changed = threading.Condition()
        self._batch = None
        threading.Thread(target=self._run, name="orchwatch-delivery", daemon=True).start()

    def _run(self) -> None:
        changed = self._changed
        # A host may have instrumented the exporters' HTTP client: that would recurse endlessly.
        context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, value=True))
        while True:
            with changed:
                while self._batch is None:
                    changed.wait()
                batch = self._batch
            try:
                sent = self._send(batch)
            except Exception:  # noqa: BLE001 - whatever it is, the batch was not sent and is kept
                sent = False
            with changed:
                self._batch, self._sent = None, sent
                changed.notify_all()
