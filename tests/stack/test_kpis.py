"""Key figures of a scripted session, as Prometheus has them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import eventually, run, selector, value

from orchwatch.analysis import storage

if TYPE_CHECKING:
    from pathlib import Path

    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

# One agent is busy for 400 s of its 500, the other for 200 of its 300, 100 of them together.
PROGRAM = """
    import os, time
    from pathlib import Path
    from orchwatch import configure
    from orchwatch.recording import otlp_json, spool
    from orchwatch.analysis import kpi_export
    from orchwatch.analysis.status import Gatherer
    from orchwatch.store.database import Store

    S = 10**9
    now_ns = time.time_ns()
    home = Path(os.environ["ORCHWATCH_HOME"])
    for agent, start_s, end_s, failed in [
        ("a", 1000, 800, False),
        ("a", 700, 500, False),
        ("b", 600, 450, False),
        ("b", 350, 300, True),
    ]:
        attributes = {
            "orchestration.operation.name": "agent.task",
            "session.id": "scripted",
            "gen_ai.agent.name": agent,
        }
        span = otlp_json.encode_span(
            trace_id=os.urandom(16).hex(),
            span_id=os.urandom(8).hex(),
            parent_span_id="",
            name=otlp_json.quote("invoke_agent"),
            start_ns=now_ns - start_s * S,
            end_ns=now_ns - end_s * S,
            attributes=otlp_json.encode_attributes(attributes),
            status=otlp_json.STATUS_ERROR if failed else otlp_json.STATUS_OK,
        )
        prefix = otlp_json.spans_prefix(otlp_json.encode_attributes({}), "script", "1")
        spool.append(spool.OPERATIONS, otlp_json.to_bytes(prefix + span + otlp_json.LINE_SUFFIX))
    input()
    configure(export="otlp")
    with Store(home) as store:
        gatherer = Gatherer(home, store, home)
        kpi_export.export(kpi_export.of_system(gatherer.measure_system()))
        kpi_export.export(kpi_export.of_business(gatherer.measure_business()))
"""

EXPECTED = {
    "orchestration_agent_active": 0,
    "orchestration_task_throughput_per_hour": 3,
    "orchestration_task_success_ratio": 0.75,
    "orchestration_task_error_ratio": 0.25,
    "orchestration_agent_utilization_ratio": 600 / 800,
    "orchestration_parallel_ratio": 100 / 500,
    "orchestration_efficiency_ratio": 550 / 800,
}


def test_known_busy_times_come_out_of_prometheus_within_a_hundredth(
    stack: Stack, tmp_path: Path
) -> None:
    service = "scripted session"
    environment = {
        "ORCHWATCH_HOME": str(tmp_path),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_url,
        "OTEL_EXPORTER_OTLP_HEADERS": stack.otlp_headers,
    }
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "chunks").write_bytes(b"x" * 100_000)
    run(stack, service, PROGRAM, environment=environment)

    def found(name: str) -> float | None:
        return value(stack, name + selector(service=service))

    def figures() -> dict[str, float | None]:
        return {name: found(name) for name in EXPECTED}

    eventually(lambda: None not in figures().values())
    assert figures() == pytest.approx(EXPECTED, rel=0.01)
    # Prometheus judges by the same growth as `current`, whatever the servers keep beside it.
    kept = storage.growth_bytes(tmp_path, time.time_ns())
    assert found("orchestration_storage_size_bytes") == kept
    assert found("orchestration_storage_growth_bytes") == kept
    # What nobody measured is absent.
    for name in ("test_coverage_ratio", "code_quality", "session_memory_bytes"):
        assert found(f"orchestration_{name}") is None
