"""Servers that are killed and come back while operations are written."""

from __future__ import annotations

import os
import re
import signal
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.stack.conftest import (
    DURATION,
    Span,
    counted,
    eventually,
    finish,
    get,
    programs,
    run,
    selector,
    spooled,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from native import Stack

CONFIG = Path(__file__).resolve().parents[2] / "collector" / "config.yaml"
WRITERS = 4
# Operations that are written while a server is away, and between two faults: at the writers' pace
# more than between two flushes of the Collector.
MEANWHILE = 400
CAUGHT_UP_WITHIN_S = 150

# Goes on until it is told to end: one trace after another, each of a parent and its children.
WRITER = """
    import hashlib, select, sys
    from contextlib import suppress
    from orchwatch import configure, operation

    if sys.argv[1]:
        configure(export=sys.argv[1])
    ids = open(sys.argv[2], "a", buffering=1)
    goes_on = True
    while goes_on:
        with operation("event.process") as parent:
            for number in range(20):
                goes_on = goes_on and not select.select([sys.stdin], [], [], 0.02)[0]
                with suppress(LookupError), operation("state.query") as child:
                    hashlib.sha256(bytes(100_000)).digest()
                    if number == 7:
                        raise KeyError
                print(child.trace_id, child.span_id, file=ids)
        print(parent.trace_id, parent.span_id, file=ids)
"""


def test_operations_outlive_every_server(own_stack: Stack) -> None:
    stack = own_stack
    kills_ns = []  # of the Collector
    faults_ns = []  # after which it sends again what it has no answer to

    def kill_collector() -> None:
        stack.kill_component("collector", signal.SIGKILL)
        kills_ns.append(time.time_ns())
        faults_ns.append(kills_ns[-1])

    def stop_tempo() -> None:
        stack.stop_component("tempo")
        faults_ns.append(time.time_ns())

    def go_on() -> None:
        wait_for_more(lambda: lines(stack.spool.glob("operations-*.jsonl")))

    with programs(stack, "chaos", WRITER, "", os.devnull, number=WRITERS) as writers:
        assert eventually(lambda: counted(stack, service="chaos"))
        kill_collector()
        go_on()
        stack.start_component("collector")
        go_on()
        stack.stop_component("prometheus")
        go_on()
        stack.start_component("prometheus")
        go_on()
        stop_tempo()
        go_on()
        kill_collector()  # with what waits for Tempo in its queue
        stack.start_component("collector")
        go_on()
        stack.start_component("tempo")
        go_on()
        finish(writers)

    emitted = spooled(stack, "chaos")
    assert missing_in_tempo(stack, emitted) == {}
    # What a killed Collector had sent and not yet crossed off its queue is sent again, and so is
    # what a Tempo that is stopped takes without an answer; nothing is read again. On a busy
    # machine the Collector is late with all of that.
    held_ns = 5 * held_for_ns()
    for span in twice_in_tempo(stack, emitted):
        assert any(fault_ns - held_ns <= span.end_ns <= fault_ns for fault_ns in faults_ns)
    run(stack, "later", WRITER, "", os.devnull)
    assert eventually(lambda: counted(stack, service="later"), CAUGHT_UP_WITHIN_S)
    not_counted = len(emitted) - ever_counted(stack, "chaos")
    assert 0 <= not_counted <= sum(held_at_most(emitted, kill_ns) for kill_ns in kills_ns)


def test_a_service_outlives_the_collector(own_stack: Stack, tmp_path: Path) -> None:
    stack, ids = own_stack, tmp_path / "ids"

    def go_on() -> None:
        wait_for_more(lambda: lines([ids]))

    ids.touch()
    environment = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_url,
    }
    with programs(
        stack, "service", WRITER, "otlp", str(ids), number=WRITERS, environment=environment
    ) as services:
        go_on()
        stack.kill_component("collector", signal.SIGKILL)
        # The line after the header's: what could not be sent is kept.
        assert eventually(lambda: lines(stack.spool.glob("undelivered-*.jsonl")) > 1)
        stack.start_component("collector")
        go_on()
        finish(services)

    pairs = (line.split() for line in ids.read_text().splitlines())
    emitted = Counter((trace_id, span_id) for trace_id, span_id in pairs)
    traces = {trace_id for trace_id, _ in emitted}

    def found() -> Counter[tuple[str, str]]:
        spans = (span for trace_id in traces for span in stored(stack, trace_id))
        return Counter((span.trace_id, span.span_id) for span in spans)

    assert eventually(lambda: not emitted - found(), CAUGHT_UP_WITHIN_S), emitted - found()
    # What was kept while its sending had not failed for certain may be there twice, nothing else.
    kept = {(span.trace_id, span.span_id) for span in spooled(stack, "service", "undelivered")}
    assert set(found() - emitted) <= kept
    # It tells its sums again and again, so that what one message lacked the next one brings.
    assert eventually(lambda: counted(stack, service="service") == emitted.total())


def lines(files: Iterable[Path]) -> int:
    return sum(file.read_bytes().count(b"\n") for file in files)


def wait_for_more(written: Callable[[], int]) -> None:
    enough = written() + MEANWHILE
    assert eventually(lambda: written() >= enough)


def missing_in_tempo(stack: Stack, emitted: list[Span]) -> dict[str, list[Span]]:
    """What Tempo has of the traces that are not yet there as they were emitted, span by span."""
    waiting = by_trace(emitted)
    different: dict[str, list[Span]] = {}

    def all_there() -> bool:
        different.clear()
        for trace_id, spans in list(waiting.items()):
            found = stored(stack, trace_id)
            if set(found) == set(spans):
                del waiting[trace_id]
            else:
                different[trace_id] = found
        return not waiting

    eventually(all_there, CAUGHT_UP_WITHIN_S)
    return different


def twice_in_tempo(stack: Stack, emitted: list[Span]) -> list[Span]:
    """The spans that Tempo has more often than they were emitted."""
    return [
        span
        for trace_id, spans in by_trace(emitted).items()
        for span in (Counter(stored(stack, trace_id)) - Counter(spans))
    ]


def by_trace(spans: list[Span]) -> dict[str, list[Span]]:
    traces: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    return traces


def ever_counted(stack: Stack, service: str) -> float:
    """How often a counter was raised over all its restarts: exactly, where `increase` estimates."""
    query = f"{DURATION}_count{selector(service=service)}[1h]"
    answer = get(f"{stack.prometheus_url}/api/v1/query", query=query)
    total = 0.0
    for series in answer["data"]["result"]:
        before = 0.0
        for _, text in series["values"]:
            now = float(text)
            total += now - before if now >= before else now
            before = now
    return total


def held_at_most(emitted: list[Span], kill_ns: int) -> int:
    """How many operations ended within what the Collector can hold uncounted before a kill."""
    held_ns = held_for_ns()
    ends = sorted(span.end_ns for span in emitted if span.end_ns <= kill_ns)
    # Wherever that interval began: a reader that was late held older ones.
    return max(number - bisect_right(ends, end - held_ns) for number, end in enumerate(ends, 1))


def held_for_ns() -> int:
    """How long the Collector may hold what it has read: until its next flush."""
    config = yaml.safe_load(CONFIG.read_text())
    interval_s = seconds(config["connectors"]["span_metrics"]["metrics_flush_interval"])
    read_every_s = seconds(config["receivers"]["otlp_json_file/operations"]["poll_interval"])
    return round((interval_s + read_every_s) * 1e9)


def seconds(duration: str) -> float:
    found = re.fullmatch(r"([\d.]+)(ms|s)", duration)
    assert found, duration
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
