"""Operations of real processes, through the spool, into Prometheus and Tempo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import (
    DURATION,
    TABLE,
    Span,
    buckets,
    counted,
    eventually,
    expected_buckets,
    finish,
    get,
    programs,
    run,
    samples,
    search,
    selector,
    spooled,
    stored,
)

import build
from orchwatch import semconv

if TYPE_CHECKING:
    from native import Stack

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("shared stack")

SERVICE = "backbone"
PROCESSES = 8
QUICK = 100  # a process' operations that take no time
TARGET_AT_MOST_S = 0.1
# Of the target: well below, just below, just above, beyond the warning.
SHARES = (0.5, 0.95, 1.05, 1.5)

# Works until each operation has taken its time; the spool says how long it really took.
WORKER = """
    import hashlib, json, sys, time
    from contextlib import suppress
    from orchwatch import operation

    input()  # all start at once
    for name, duration_s, fails in json.loads(sys.argv[1]):
        with suppress(LookupError), operation(name):
            deadline = time.monotonic() + duration_s
            while time.monotonic() < deadline:
                hashlib.sha256(bytes(1024)).digest()
            if fails:
                raise KeyError(name)
"""


@pytest.fixture(scope="module")
def emitted(stack: Stack) -> list[Span]:
    """The operations of eight processes at once, some of them failed."""
    timed = [row for row in TABLE.operations.values() if row.target_s <= TARGET_AT_MOST_S]
    plan = [(semconv.EVENT_PROCESS, 0.0, number % 10 == 0) for number in range(QUICK)]
    plan += [(row.id, row.target_s * share, share > 1) for row in timed for share in SHARES]
    with programs(stack, SERVICE, WORKER, json.dumps(plan), number=PROCESSES) as processes:
        finish(processes)
    spans = spooled(stack, SERVICE)
    assert len(spans) == PROCESSES * len(plan)
    assert eventually(lambda: counted(stack, service=SERVICE) >= len(spans))
    return spans


def test_prometheus_counts_every_operation_under_the_very_edge_it_ended_at(
    stack: Stack, emitted: list[Span]
) -> None:
    assert counted(stack, service=SERVICE) == len(emitted)
    for name in {span.name for span in emitted}:
        own = [span for span in emitted if span.name == name]
        expected = expected_buckets(own)
        assert buckets(stack, service=SERVICE, operation=name) == expected
        under_target = [span for span in own if span.duration_s <= TABLE.operations[name].target_s]
        assert 0 < len(under_target) < len(own)
        assert expected[TABLE.operations[name].target_s] == len(under_target)


def test_failed_operations_are_counted_apart_by_what_failed(
    stack: Stack, emitted: list[Span]
) -> None:
    failed = [span for span in emitted if span.error_type]
    error = {"service": SERVICE, "status_code": semconv.STATUS_ERROR, "error_type": "KeyError"}
    assert failed
    assert buckets(stack, **error) == expected_buckets(failed)
    ok = {"service": SERVICE, "status_code": semconv.STATUS_OK, "error_type": ""}
    succeeded = [span for span in emitted if not span.error_type]
    assert buckets(stack, **ok) == expected_buckets(succeeded)


def test_nothing_that_names_a_process_becomes_a_label(stack: Stack, emitted: list[Span]) -> None:
    assert emitted
    found = get(f"{stack.prometheus_url}/api/v1/series", **{"match[]": selector(service=SERVICE)})
    assert {label for series in found["data"] for label in series} == {
        "__name__",
        "job",
        "service_name",
        "orchestration_operation_name",
        "status_code",
        "error_type",
        "le",
    }
    assert samples(stack, f"target_info{selector(job=SERVICE)}") == []


def test_an_exemplar_opens_its_trace(stack: Stack, emitted: list[Span]) -> None:
    found = get(
        f"{stack.prometheus_url}/api/v1/query_exemplars",
        query=f"{DURATION}_bucket{selector(service=SERVICE)}",
        start=time.time() - 600,
        end=time.time() + 60,
    )
    exemplars = [one for series in found["data"] for one in series["exemplars"]]
    assert exemplars
    by_id = {span.span_id: span for span in emitted}
    for exemplar in exemplars:
        span = by_id[exemplar["labels"]["span_id"]]
        assert float(exemplar["value"]) == span.duration_s
        assert span.trace_id == exemplar["labels"]["trace_id"]
    trace_id = exemplars[0]["labels"]["trace_id"]
    opened = eventually(lambda: stored(stack, trace_id))
    assert opened == [span for span in emitted if span.trace_id == trace_id]


def test_a_search_finds_the_operations_that_failed(stack: Stack, emitted: list[Span]) -> None:
    failed = {
        span.trace_id for span in emitted if span.error_type and span.name == semconv.STATE_QUERY
    }
    query = (
        f'{{resource.service.name="{SERVICE}" && status=error'
        f' && span.{semconv.OPERATION_NAME}="{semconv.STATE_QUERY}"'
        f' && span.{semconv.ERROR_TYPE}="KeyError"}}'
    )
    assert failed
    assert eventually(lambda: search(stack, query) == failed)


def test_every_operation_of_the_table_arrives_with_edges_of_its_own(stack: Stack) -> None:
    service = "table"
    every = """
        import sys
        from orchwatch import operation
        for name in sys.argv[1:]:
            with operation(name):
                pass
    """
    run(stack, service, every, *TABLE.operations)
    assert eventually(lambda: counted(stack, service=service) == len(TABLE.operations) == 10)
    spans = {span.name: span for span in spooled(stack, service)}
    for name, row in TABLE.operations.items():
        found = buckets(stack, service=service, operation=name)
        assert {row.target_s, row.warning_s} <= set(found)
        assert found == expected_buckets([spans[name]])


def test_parent_and_child_of_two_processes_are_one_trace(stack: Stack) -> None:
    parent = """
        import subprocess, sys
        from orchwatch import child_environment, operation

        child = '''
            from orchwatch import operation
            with operation("state.query"):
                pass
        '''
        with operation("agent.spawn") as op:
            command = [sys.executable, "-c", "if True:" + child]
            subprocess.run(command, env=child_environment(), check=True)
        print(op.trace_id)
    """
    trace_id = run(stack, "family", parent).strip()
    eventually(lambda: len(stored(stack, trace_id)) == 2)
    spans = {span.name: span for span in stored(stack, trace_id)}
    assert Counter(spans.values()) == Counter(spooled(stack, "family"))
    assert spans[semconv.AGENT_SPAWN].parent_span_id == ""
    assert spans[semconv.STATE_QUERY].parent_span_id == spans[semconv.AGENT_SPAWN].span_id


def test_the_export_has_the_very_series_that_prometheus_has(
    stack: Stack, emitted: list[Span]
) -> None:
    words = ["export", "--format", "prometheus", "--service", SERVICE]
    text = subprocess.check_output(
        [sys.executable, "-m", "orchwatch.cli", *words],
        env={**os.environ, "ORCHWATCH_HOME": str(stack.home)},
        text=True,
    )
    checked = subprocess.run(
        [str(build.binaries()["promtool"]), "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    exported = {}
    for line in text.splitlines():
        if line.startswith(DURATION):
            series, _, shown = line.rpartition(" ")
            labels = dict(re.findall(r'(\w+)="([^"]*)"', series))
            exported[series.partition("{")[0], frozenset(labels.items())] = float(shown)
    there = {}
    for kind in ("bucket", "count", "sum"):
        for labels, number in samples(stack, f"{DURATION}_{kind}{selector(service=SERVICE)}"):
            kept = {
                name: label for name, label in labels.items() if name not in ("job", "__name__")
            }
            there[labels["__name__"], frozenset(kept.items())] = number
    assert exported.keys() == there.keys()
    sums = {key for key in exported if key[0].endswith("_sum")}
    assert {key for key in exported.keys() - sums if exported[key] != there[key]} == set()
    # The Collector adds up floats, one operation after the other.
    assert all(exported[key] == pytest.approx(there[key], rel=1e-9) for key in sums)
    assert sum(exported[key] for key in exported if key[0].endswith("_count")) == len(emitted)
