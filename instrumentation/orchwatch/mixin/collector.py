"""What the Collector's configuration takes from the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin.lib import yaml_text
from orchwatch.mixin.lib.promql import number

if TYPE_CHECKING:
    from orchwatch.targets.target_table import Targets


def bucket_edges(table: Targets) -> list[str]:
    """The explicit buckets of `span_metrics`, as elements of a YAML list of durations."""
    return [f"- {duration(edge_s)}" for edge_s in table.edges_s]


def buckets_file(table: Targets) -> str:
    """A configuration to name after one's own: `--config own.yaml --config buckets.yaml`."""
    buckets = [duration(edge_s) for edge_s in table.edges_s]
    histogram = {"histogram": {"explicit": {"buckets": buckets}}}
    return yaml_text.document({"connectors": {"span_metrics": histogram}})


def duration(seconds: float) -> str:
    """A duration as Go parses it, in whole or decimal milliseconds where seconds are not whole."""
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    return f"{number(seconds * 1000)}ms"
