"""One process's part of a benchmark: iterations, timed, with the same empty loop in between."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from orchwatch.bench.case import IterationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchwatch.bench.case import Case

# About half a millisecond: long enough to feel what else runs, short beside most operations.
LOOP_STEPS = 20_000
# However slow they are: of fewer, nothing can be said.
LEAST_ITERATIONS = 10
_REPORT_S = 0.1
_MAX_SAID = 300

# What an iteration gave: component, operation, seconds or None, seconds of the loop, error or None.
Sample = tuple[str, str, float | None, float, str | None]


class Reporter:
    """Hands on what was measured, a few times a second.

    Args:
        send: Takes one message, JSON.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._samples: list[Sample] = []
        self._next_s = time.monotonic() + _REPORT_S

    def add(self, sample: Sample) -> None:
        """One more; sent with others."""
        self._samples.append(sample)
        if time.monotonic() >= self._next_s:
            self.flush()

    def flush(self, **more: Any) -> None:
        """Sends what there is, and what else there is to say."""
        if self._samples or more:
            self._send({"samples": self._samples, **more})
        self._samples = []
        self._next_s = time.monotonic() + _REPORT_S


def repeat(
    component: str,
    case: Case,
    operation: str,
    *,
    iterations: int,
    warmup: int,
    to: Reporter,
    limit_s: float = math.inf,
) -> None:
    """Iterations one after the other; those to warm up are not reported.

    Args:
        component: What is benchmarked.
        case: How.
        operation: The name that it is reported under.
        iterations: How many are reported.
        warmup: How many go before.
        to: Takes what is measured.
        limit_s: None begins after so many seconds, but for the first few.
    """
    until_s = time.monotonic() + limit_s
    for number in range(-warmup, iterations):
        if number >= LEAST_ITERATIONS and time.monotonic() >= until_s:
            break
        taken_s, said = once(case)
        if number >= 0:
            to.add((component, operation, taken_s, empty_loop(), said))
    to.flush()


def at_a_rate(
    cases: list[tuple[str, Case]],
    *,
    every_s: float,
    first_s: float,
    duration_s: float,
    to: Reporter,
    after: Callable[[], Iterator[Sample]],
) -> int:
    """One operation after the other, each due at its time, until the time is over.

    A benchmark that falls behind goes on at once, and what is late is counted: it says that the
    machine does not manage the rate.

    Args:
        cases: What to do in turn, by component.
        every_s: From one to the next; 0 leaves no pause.
        first_s: When the first is due, from now.
        duration_s: When to stop, from now.
        to: Takes what is measured.
        after: Done after each, and measured too.

    Returns:
        How many began later than the next one was due.
    """
    started_s = time.monotonic()
    late = 0
    for number, (component, case) in enumerate(itertools.cycle(cases)):
        due_s = started_s + first_s + number * every_s
        now_s = time.monotonic()
        if max(now_s, due_s) >= started_s + duration_s:
            break
        if now_s < due_s:
            time.sleep(due_s - now_s)
        elif every_s and now_s > due_s + every_s:
            late += 1
        taken_s, said = once(case)
        to.add((component, case.operation, taken_s, empty_loop(), said))
        for sample in after():
            to.add(sample)
    to.flush()
    return late


def once(case: Case) -> tuple[float | None, str | None]:
    """One iteration: the seconds it took, or what it failed with."""
    with ExitStack() as settled:
        try:
            settled.callback(case.settle)
            case.prepare()
            started_ns = time.perf_counter_ns()
            own_s = case.run()
            taken_s = (time.perf_counter_ns() - started_ns) / 1e9
            return taken_s if own_s is None else own_s, None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it does is counted
            return None, _said(error)


def empty_loop() -> float:
    """Seconds that a loop with nothing in it takes: what the machine itself does at the moment."""
    started_ns = time.perf_counter_ns()
    for _ in range(LOOP_STEPS):
        pass
    return (time.perf_counter_ns() - started_ns) / 1e9


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_MAX_SAID]
    if isinstance(error, IterationError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
