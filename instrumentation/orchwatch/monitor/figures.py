"""What the monitor process measures at intervals, for Prometheus and for short commands."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.analysis import kpi_export, snapshot_file, status
from orchwatch.diagnosis import spool_backlog
from orchwatch.errors import OrchwatchError
from orchwatch.monitor import exposition, patterns
from orchwatch.monitor.live import LiveGatherer
from orchwatch.recording import losses, spool
from orchwatch.recording.home import home
from orchwatch.reporters import status_document
from orchwatch.sdk import export_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.monitor.alert_stream import AlertStream
    from orchwatch.monitor.following import Following

SNAPSHOT_INTERVAL_S = 5.0
_SPOOL_INTERVAL_S = 10.0
# Some 7 kB each: as often as they are due they would be most of what a day may take of the disk,
# for no reader. Prometheus drops a series after five minutes, should one read them after all.
_UNREAD_INTERVAL_S = 240.0
# Older figures are dropped: none is better than an outdated one.
_EXPOSED_FOR_S = 60.0
# At most this share of the time goes into snapshots, however much is stored.
_SNAPSHOT_SHARE = 0.005

_logger = logging.getLogger(__name__)


class Figures:
    """Measures what is due; a figure that cannot be measured is absent, and logged once.

    Args:
        project: The project whose coverage and quality are looked for.
        following: The sessions that are followed.
        stream: Where alerts are written.
        exports: Whether the gauges are exported from here, to the spool.
    """

    def __init__(
        self, project: Path, following: Following, stream: AlertStream, *, exports: bool
    ) -> None:
        directory = Path(home())
        self._home = directory
        self._gatherer = LiveGatherer(directory, project)
        self._patterns = patterns.Patterns(self._gatherer.work, stream)
        self._following = following
        self._looker = spool_backlog.BacklogReader()
        # For the first time when the first figures are ready.
        self._done_s = dict.fromkeys((self._export, self._call_times), time.monotonic())
        self._exposed = b"", 0.0
        self._complaints: dict[Callable[[], None], str] = {}
        self._snapshot_interval_s = SNAPSHOT_INTERVAL_S
        self._exports = exports
        self._export_interval_s = self._call_interval_s = _UNREAD_INTERVAL_S

    def measure(self, now_s: float) -> None:
        """Measures what is due, by the monotonic clock."""
        for task, interval_s in (
            (self._take_in, 0.0),
            (self._system, status.SYSTEM_INTERVAL_S),
            (self._business, status.BUSINESS_INTERVAL_S),
            (self._snapshot, self._snapshot_interval_s),
            (self._spool, _SPOOL_INTERVAL_S),
            (self._call_times, self._call_interval_s),
            (self._export, self._export_interval_s),
            (self._patterns.look, patterns.INTERVAL_S),
        ):
            if now_s < self._done_s.get(task, -math.inf) + interval_s:
                continue
            self._done_s[task] = now_s
            try:
                task()
            except (OrchwatchError, OSError) as error:
                if self._is_new(task, error):
                    _logger.warning("%s", error)
            except Exception as error:  # a figure that cannot be measured must not stop the monitor
                losses.count("internal_error")
                if self._is_new(task, error):
                    _logger.exception("a figure was left out")

    def _is_new(self, task: Callable[[], None], error: Exception) -> bool:
        """Whether the message differs from the task's last one."""
        said = self._complaints.get(task)
        self._complaints[task] = str(error)
        return said != str(error)

    def close(self) -> None:
        """Stops everything that still runs, and says what is not said yet."""
        self._gatherer.close()
        with suppress(OSError):  # the next process reads again what could not be stored
            self._call_times()

    def exposition(self) -> bytes:
        """What Prometheus fetches; may be called from any thread."""
        text, at_s = self._exposed
        return text if time.monotonic() - at_s < _EXPOSED_FOR_S else b""

    def _take_in(self) -> None:
        self._gatherer.step(time.monotonic())

    def _system(self) -> None:
        kpi_export.export(kpi_export.of_system(self._gatherer.measure_system()))

    def _business(self) -> None:
        business = self._gatherer.measure_business(self._following.unfinished())
        kpi_export.export(kpi_export.of_business(business))
        self._following.export_tokens()

    def _call_times(self) -> None:
        self._gatherer.call_times.export(time.time_ns())

    def _snapshot(self) -> None:
        started_s = time.process_time()
        taken = self._gatherer.take()
        document = status_document.as_dict(
            taken, interval_s=self._snapshot_interval_s, agents=self._following.at_work()
        )
        snapshot_file.write(str(self._home), document)
        took_s = time.process_time() - started_s
        self._snapshot_interval_s = max(SNAPSHOT_INTERVAL_S, took_s / _SNAPSHOT_SHARE)

    def _spool(self) -> None:
        backlogs = self._looker.look()
        text = exposition.text(backlogs, spool_backlog.budget_bytes(), losses.read())
        self._exposed = text, time.monotonic()
        read = {
            one.family
            for one in backlogs
            if one.age_s is not None and one.age_s < 2 * status.BUSINESS_INTERVAL_S
        }
        self._export_interval_s = _interval_s(spool.METRICS in read)
        # Of whoever measures nothing but operations there are no other metrics in the spool.
        self._call_interval_s = _interval_s(not read.isdisjoint((spool.METRICS, spool.OPERATIONS)))

    def _export(self) -> None:
        if self._exports:
            export_metrics()


def _interval_s(is_read: bool) -> float:  # noqa: FBT001 - says what it is about
    return status.BUSINESS_INTERVAL_S if is_read else _UNREAD_INTERVAL_S
