"""A profiler that is called at the start, during and at the end of work that no block encloses.

Each of its traces is an operation like any other, in the spool and on the servers; the profiler
keeps the latest ones in memory besides, for a program that draws its own flame graph.
"""

from __future__ import annotations

import time
from collections import deque

from orchwatch.recording.operation import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchwatch.recording.otlp_json import Attributes

MAX_COMPLETED = 1000
"""How many completed traces are kept: the latest."""

DURATION = "duration_ms"
"""The attribute of an event that says how long it took; one without lasts until the next one."""

_NS_PER_MS = 1_000_000


class Profiler:
    """Measures work by an id that the caller chooses, from any thread.

    profiler = Profiler()
    profiler.start_trace("job-7", "state.persist")
    profiler.add_event("job-7", "encoded", {"bytes": 512})
    profiler.end_trace("job-7")
    profiler.generate_flame_graph_data()
    """

    def __init__(self) -> None:
        self._active: dict[str, operation] = {}
        self._completed: deque[dict[str, Any]] = deque(maxlen=MAX_COMPLETED)

    def start_trace(self, operation_id: str, operation_name: str) -> None:
        """Begins an operation; one of that id that is still open ends first.

        Args:
            operation_id: How the other calls name it.
            operation_name: As of `operation`: a short constant.
        """
        if operation_id in self._active:
            self.end_trace(operation_id)
        started = operation(operation_name)
        started._start()
        self._active[operation_id] = started

    def add_event(self, operation_id: str, event_name: str, data: Attributes | None = None) -> None:
        """Notes that something happened now; nothing where no such operation is open.

        Args:
            operation_id: Of which.
            event_name: A short constant.
            data: Attributes; `duration_ms` says how long it took.
        """
        active = self._active.get(operation_id)
        if active is not None:
            active.add_event(event_name, data)

    def end_trace(
        self, operation_id: str, error: BaseException | None = None
    ) -> dict[str, Any] | None:
        """Ends an operation.

        Args:
            operation_id: Which.
            error: What it failed by.

        Returns:
            Its `name`, `trace_id`, `start_time` and `end_time` (Unix seconds), `duration_ms`, and
            `events`, each with `name`, `timestamp` and `data`; None where no such one is open.
        """
        ended = self._active.pop(operation_id, None)
        if ended is None or ended.recorder is None:
            return None
        duration_ns = max(time.perf_counter_ns() - ended.clock_ns, 0)
        ended._end(error)
        trace = {
            "name": ended.name,
            "trace_id": ended.trace_id,
            "start_time": ended.start_ns / 1e9,
            "end_time": (ended.start_ns + duration_ns) / 1e9,
            "duration_ms": duration_ns / _NS_PER_MS,
            "events": [
                {"name": name, "timestamp": time_ns / 1e9, "data": dict(attributes)}
                for name, time_ns, attributes in ended.events or ()
            ],
        }
        self._completed.append(trace)
        return trace

    def generate_flame_graph_data(self) -> dict[str, Any]:
        """The completed traces as `{"flame_graph": [{name, duration, children}]}`, in milliseconds.

        An event lasts as long as its `duration_ms` says, else until the next one or the end.
        """
        return {"flame_graph": [_frame(trace) for trace in list(self._completed)]}


def _frame(trace: dict[str, Any]) -> dict[str, Any]:
    events = trace["events"]
    ends = [*(event["timestamp"] for event in events[1:]), trace["end_time"]]
    return {
        "name": trace["name"],
        "duration": trace["duration_ms"],
        "children": [
            {"name": event["name"], "duration": _duration_ms(event, end)}
            for event, end in zip(events, ends, strict=False)
        ],
    }


def _duration_ms(event: dict[str, Any], end_s: float) -> float:
    said: object = event["data"].get(DURATION)
    if isinstance(said, int | float) and not isinstance(said, bool) and said >= 0:
        return float(said)
    passed_s: float = end_s - event["timestamp"]
    return max(passed_s, 0.0) * 1000
