from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from orchwatch.sdk import host_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Measured = dict[str, tuple[str, dict[tuple[Any, ...], float]]]

NAMES_AND_UNITS = {
    # Source: OpenTelemetry semantic conventions, process and system metrics.
    "process.cpu.time": "s",
    "process.cpu.utilization": "1",
    "process.disk.io": "By",
    "process.memory.usage": "By",
    "process.thread.count": "{thread}",
    "process.unix.file_descriptor.count": "{file_descriptor}",
    "process.uptime": "s",
    "system.cpu.utilization": "1",
    "system.disk.io": "By",
    "system.filesystem.usage": "By",
    "system.memory.usage": "By",
    "system.memory.utilization": "1",
}


@pytest.fixture
def measure(home: Path) -> Callable[[], Measured]:
    """Registers all metrics; each call collects them: unit and values by their attributes."""
    home.mkdir()
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    host_metrics.observe(provider.get_meter("test"))

    def collect() -> Measured:
        data = reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: (
                metric.unit or "",
                {
                    tuple((point.attributes or {}).values()): point.value  # type: ignore[union-attr]
                    for point in metric.data.data_points
                },
            )
            for of_resource in data.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        }

    return collect


def _burn(seconds: float) -> None:
    """Uses the processor for that long."""
    process = psutil.Process()
    start = sum(process.cpu_times()[:2])
    while sum(process.cpu_times()[:2]) - start < seconds:
        pass


def test_names_and_units_are_those_of_the_conventions(measure: Callable[[], Measured]) -> None:
    _burn(0.05)

    assert {name: unit for name, (unit, _) in measure().items()} == NAMES_AND_UNITS


def test_the_process_is_measured_as_psutil_sees_it(measure: Callable[[], Measured]) -> None:
    process = psutil.Process()
    before = process.cpu_times()
    _burn(0.2)
    measured = {name: values for name, (_, values) in measure().items()}
    after = process.cpu_times()

    assert before.user <= measured["process.cpu.time"]["user",] <= after.user
    assert before.system <= measured["process.cpu.time"]["system",] <= after.system
    assert 0 < measured["process.cpu.utilization"][()] <= 1
    rss_bytes = process.memory_info().rss
    assert measured["process.memory.usage"][()] == pytest.approx(rss_bytes, rel=0.2)
    assert measured["process.uptime"][()] > 0.2
    assert measured["process.disk.io"]["read",] <= process.io_counters().read_bytes


def test_threads_and_descriptors_are_followed_up_and_down(
    run_python: Callable[..., str],
) -> None:
    out = run_python("""
        import os, threading
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.resources import Resource
        from orchwatch.sdk import host_metrics
        reader = InMemoryMetricReader()
        host_metrics.observe(MeterProvider([reader], Resource({})).get_meter("test"))
        def show():
            metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
            values = {metric.name: metric.data.data_points[0].value for metric in metrics}
            descriptors = values["process.unix.file_descriptor.count"]
            print(values["process.thread.count"], descriptors - before)
        before = len(os.listdir("/proc/self/fd")) - 1  # the listing has one of its own
        show()
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        descriptors = os.pipe()
        show()
        end.set()
        thread.join()
        for descriptor in descriptors: os.close(descriptor)
        show()
    """)

    threads, descriptors = zip(*(map(int, line.split()) for line in out.splitlines()), strict=True)
    assert threads == (1, 2, 1)
    assert [number - descriptors[0] for number in descriptors] == [0, 2, 0]


def test_the_shares_of_processor_and_memory_add_up_to_one(measure: Callable[[], Measured]) -> None:
    _burn(0.2)
    measured = {name: values for name, (_, values) in measure().items()}

    assert sum(measured["system.cpu.utilization"].values()) == pytest.approx(1)
    assert sum(measured["system.memory.utilization"].values()) == pytest.approx(1)
    assert sum(measured["system.memory.usage"].values()) == psutil.virtual_memory().total


def test_the_file_system_is_that_of_the_spool(measure: Callable[[], Measured], home: Path) -> None:
    values = measure()["system.filesystem.usage"][1]
    usage = psutil.disk_usage(str(home))

    assert values["used",] == pytest.approx(usage.used, rel=0.05)
    assert values["free",] == pytest.approx(usage.free, rel=0.05)


def test_what_cannot_be_had_is_absent_and_the_rest_goes_on(
    measure: Callable[[], Measured], home: Path
) -> None:
    home.rmdir()  # the spool's disk cannot be asked for

    measured = measure()

    assert "system.filesystem.usage" not in measured
    assert "process.memory.usage" in measured


def test_no_time_passed_is_no_measurement_of_the_processor(
    measure: Callable[[], Measured],
) -> None:
    for _ in range(20):
        values = measure().get("system.cpu.utilization", ("", {}))[1]
        assert not values or sum(values.values()) == pytest.approx(1)
