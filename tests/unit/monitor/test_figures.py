from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

STATE = Path(__file__).parents[2] / "data" / "collector" / "receiver_otlpjsonfile_operations.gz"
# Whatever is due within eight minutes.
MEASURE = """
import os, sys, time
from pathlib import Path
from orchwatch.monitor.alert_stream import AlertStream
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.figures import Figures
from orchwatch.monitor.following import Following
from orchwatch.sdk import configure

configure(service_name="measured")
following = Following(Checkpoint(), [sys.argv[1]])
figures = Figures(Path(sys.argv[1]), following, AlertStream(), exports=True)
started_s = time.monotonic()
for minute in range(1, 9):
    figures.measure(started_s + 60 * minute)
header, *lines = Path(sys.argv[1], "spool", "metrics-000001.jsonl").read_text().splitlines()
print(len(lines), all("system.memory.usage" in line for line in lines))
"""


@pytest.mark.parametrize(("is_read", "number"), [(True, 7), (False, 2)])
def test_gauges_that_no_collector_reads_are_written_seldom(
    home: Path, run_python: Callable[..., str], *, is_read: bool, number: int
) -> None:
    if is_read:
        directory = home / "stack" / "collector"
        directory.mkdir(parents=True)
        # Of a Collector that has followed them, too, and left nothing unread.
        (directory / "receiver_otlpjsonfile_metrics").write_bytes(
            gzip.decompress(STATE.read_bytes())
        )
    assert run_python(MEASURE, home) == f"{number} True\n"
