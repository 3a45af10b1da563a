"""Where time goes by call path, for Prometheus: counters that survive the process.

Each line of the spool is counted once, whatever happens to the process: how far it was read is
stored together with what was counted, and with what waits for its callers. Counters are told only
after that, so that no later process begins below what was told.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from orchwatch import semconv
from orchwatch.monitor import call_paths
from orchwatch.monitor.call_paths import CallPaths
from orchwatch.monitor.call_traces import CallTraces
from orchwatch.monitor.ended_operations import EndedOperation
from orchwatch.recording import files, spool
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.recording.otlp_json import (
    CUMULATIVE,
    LINE_SUFFIX,
    encode_attributes,
    encode_counter,
    encode_point,
    metrics_prefix,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

BYTES_A_DAY: Final = 4_000_000
"""How much of the disk they take at most, where they change all the time."""

_VERSION = 1
_MAX_BYTES = 64 * 1024 * 1024
_DAY_NS = 24 * 3600 * 1_000_000_000
# A counter that has not changed is told this often, so that what it was before a time range is
# found within a day before it, see `promql.grown`.
_REPEAT_NS = 6 * 3600 * 1_000_000_000
_UNIT = "s"

_logger = logging.getLogger(__name__)


class CallTimes:
    """Times by call path of all that ends from now on, or since the process before has ended.

    Args:
        home: The home directory.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "monitor" / "call-paths.json"
        self._offsets: dict[str, int] = {}
        self._paths = CallPaths()
        self._traces = CallTraces(self._paths)
        self._allowed_bytes, self._allowed_ns = float(BYTES_A_DAY), 0
        self._has_read = False
        saved = self._load()
        if saved is None:
            return
        try:
            self._paths = CallPaths(saved["paths"])
            self._traces = CallTraces(self._paths)
            self._traces.add((EndedOperation(*row) for row in saved["waiting"]), time.monotonic())
            self._offsets = {str(one): int(offset) for one, offset in saved["offsets"].items()}
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ):  # of another version, say
            _logger.warning("%s is of no use: call paths are counted anew", self._path)
            self._paths = CallPaths()
            self._traces = CallTraces(self._paths)
            return
        # Before anything is added: what comes now is an increase over this.
        self._tell(time.time_ns())

    def offset(self, segment: str) -> int:
        """How far a segment of the spool has been read, in bytes.

        Args:
            segment: Its id.
        """
        return self._offsets.get(segment, 0)

    def add(self, spans: Sequence[EndedOperation], segment: str, end: int) -> None:
        """Takes the spans of a part of a segment, unless it has been taken.

        Args:
            spans: That ended.
            segment: The segment's id.
            end: Where the part ends, in bytes.
        """
        if end <= self._offsets.get(segment, 0):
            return
        self._traces.add(spans, time.monotonic())
        self._offsets[segment] = end
        self._has_read = True
        if self._traces.is_full:
            self._traces.count(time.monotonic(), time.time_ns())

    def looked(self, segments: Collection[str]) -> None:
        """Counts what is whole; all that was there has been read.

        Args:
            segments: The ids of those that are there.
        """
        self._offsets = {one: end for one, end in self._offsets.items() if one in segments}
        self._has_read |= self._traces.count(time.monotonic(), time.time_ns())

    def export(self, now_ns: int) -> None:
        """Stores what is counted, and appends what has changed to the spool's metrics.

        Raises:
            OSError: It cannot be stored; then nothing is told either.
        """
        # What is whole need not be stored span by span.
        self._has_read |= self._traces.count(time.monotonic(), now_ns, quiet_s=0.0)
        told = self._paths.told()
        if self._has_read:
            self._save()
        if told and self._may_tell(now_ns):
            self._tell(now_ns)

    def _load(self) -> dict[str, Any] | None:
        try:
            saved = json.loads(files.read(self._path, _MAX_BYTES, links=False))
        except (OSError, ValueError, RecursionError):
            return None
        is_own = isinstance(saved, dict) and saved.get("version") == _VERSION
        return saved if is_own else None

    def _save(self) -> None:
        values = {
            "version": _VERSION,
            "paths": self._paths.save(),
            "waiting": self._traces.uncounted(),
            "offsets": self._offsets,
        }
        text = json.dumps(values, separators=(",", ":"))
        self._path.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        files.replace(self._path, text.encode(), sync=True)
        self._has_read = False

    def _may_tell(self, now_ns: int) -> bool:
        """Whether it has not told too much: what is left of a day's share is kept for later."""
        if self._allowed_ns:
            share = BYTES_A_DAY * (now_ns - self._allowed_ns) / _DAY_NS
            self._allowed_bytes = min(self._allowed_bytes + max(share, 0.0), BYTES_A_DAY)
        self._allowed_ns = now_ns
        return self._allowed_bytes > 0

    def _tell(self, now_ns: int) -> None:
        """Appends the counters that have changed, or that were told long ago."""
        due: dict[str, list[call_paths.Path]] = {}
        for path in self._paths.told():
            own_ns, total_ns, at_ns = path.said_ns
            has_changed = (own_ns, total_ns) != (path.told_ns, path.total_ns)
            if has_changed or now_ns - at_ns >= _REPEAT_NS:
                due.setdefault(path.service, []).append(path)
        for service, paths in due.items():
            line = _line(service, paths, now_ns)
            self._allowed_bytes -= len(line)
            if not spool.append(spool.METRICS, line, 0):
                continue
            for path in paths:
                path.said_ns = path.told_ns, path.total_ns, now_ns


def _line(service: str, paths: Sequence[call_paths.Path], now_ns: int) -> bytes:
    """A line of OTLP/JSON with both counters of each path."""
    self_times: list[str] = []
    total_times: list[str] = []
    for path in paths:
        attributes: dict[str, str | int] = {
            semconv.CALL_PATH: path.text,
            semconv.CALL_ORDER: path.order,
            semconv.CALL_LEVEL: path.level,
        }
        for points, counted_ns in ((self_times, path.told_ns), (total_times, path.total_ns)):
            value = call_paths.seconds(counted_ns)
            points.append(encode_point(value, attributes, path.born_ns, now_ns))
    resource = encode_attributes({semconv.SERVICE_NAME: service})
    metrics = (
        encode_counter(name, _UNIT, ",".join(points), CUMULATIVE)
        for name, points in (
            (semconv.CALL_SELF_TIME, self_times),
            (semconv.CALL_TIME, total_times),
        )
    )
    prefix = metrics_prefix(resource)
    return to_bytes(f"{prefix}{','.join(metrics)}{LINE_SUFFIX}")
