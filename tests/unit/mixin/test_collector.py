from __future__ import annotations

import re

import pytest

from orchwatch.mixin import collector
from orchwatch.mixin.lib.promql import number
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

GO_UNITS_NS = {"ms": 1_000_000, "s": 1_000_000_000}


def as_the_collector_reads(duration: str) -> float:
    """Seconds, from the whole nanoseconds that Go's time.ParseDuration finds."""
    found = re.fullmatch(r"([\d.]+)(ms|s)", duration)
    assert found, duration
    return round(float(found[1]) * GO_UNITS_NS[found[2]]) / 1e9


@pytest.mark.parametrize("target_s", [1e-9, 1e-8, 0.0005, 0.0333333, 1.234567, 4.35, 90.5, 3600])
def test_every_edge_is_the_one_that_rules_select(target_s: float) -> None:
    row = {"target_s": target_s}
    table = target_table.load(Config(targets={"operations": {"own.run": row}}))
    edges = [edge.removeprefix("- ") for edge in collector.bucket_edges(table)]
    read = [number(as_the_collector_reads(edge)) for edge in edges]
    assert read == [number(edge_s) for edge_s in table.edges_s]
    assert number(table.operations["own.run"].target_s) in read
