"""Collects metrics at an interval, by a thread that stops while its process forks.

The SDK's own reader starts its thread anew in every child, whether or not it measures anything,
and from Python 3.12 on, forking while another thread runs raises a warning.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricReader

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

    from orchwatch.sdk.export import MetricsToSpool

_PAUSE_LIMIT_S = 0.05  # a thread that is sending just then goes on
_POLL_S = 0.0001

_logger = logging.getLogger(__name__)


class PeriodicReader(MetricReader):
    """Collects whenever the interval has passed, and once more at its shutdown.

    Args:
        out: Receives the collected metrics.
        interval_s: Seconds from one collection to the next.
    """

    def __init__(self, out: MetricsToSpool, interval_s: float) -> None:
        super().__init__()
        self._out = out
        self._interval_s = interval_s
        self._due = time.monotonic() + interval_s
        self._exporting = threading.Lock()
        self._start()

    def pause(self) -> None:
        """Stops the thread while the process forks."""
        self._stop.set()
        limit = time.monotonic() + _PAUSE_LIMIT_S
        self._thread.join(_PAUSE_LIMIT_S)
        # Python considers it finished slightly before the kernel does.
        while os.path.exists(f"/proc/self/task/{self._thread.native_id}"):
            if time.monotonic() > limit:
                break
            time.sleep(_POLL_S)

    def resume(self) -> None:
        """Restarts the thread after `pause`."""
        self._start()

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._stop.set()
        self._thread.join(timeout_millis / 1e3)
        self.collect()
        self._out.shutdown()

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="orchwatch-metrics", daemon=True
        )
        self._thread.start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(max(self._due - time.monotonic(), 0)):
            self._due = time.monotonic() + self._interval_s
            try:
                self.collect()
            except Exception:  # a callback that another library has registered
                _logger.exception("metrics could not be collected")

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        with self._exporting:
            self._out.export(metrics_data)
