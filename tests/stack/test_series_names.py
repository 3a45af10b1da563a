"""What Prometheus calls a metric of a user's own: rules ask for that name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.stack.conftest import eventually, get, run

from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from native import Stack

UNITS = (
    *("1", "%", "s", "ms", "us", "ns", "min", "h", "d", "By", "KiBy", "MiBy", "GiBy", "MBy"),
    *("Hz", "MHz", "Cel", "V", "A", "J", "W", "g", "m", "USD", "points", "{agent}"),
    *("By/s", "tasks/h", "{task}/h", "1/s", "requests/min", "m/s", "{call}/{session}"),
)
GAUGES = """
    import json, sys
    from orchwatch.recording.metrics import gauge
    for number, unit in enumerate(json.loads(sys.argv[1])):
        gauge(f"series.names.n{number:02}x", 1.0, unit=unit)
"""


def test_rules_ask_for_the_name_that_prometheus_gives(stack: Stack) -> None:
    run(stack, "series-names", GAUGES, json.dumps(UNITS))
    expected = {
        unit: promql.series(f"series.names.n{number:02}x", unit)
        for number, unit in enumerate(UNITS)
    }

    def named() -> dict[str, str]:
        names = get(f"{stack.prometheus_url}/api/v1/label/__name__/values")["data"]
        ours = [name for name in names if name.startswith("series_names_")]
        return {UNITS[int(name.removeprefix("series_names_n")[:2])]: name for name in ours}

    eventually(lambda: len(named()) == len(UNITS))
    assert named() == expected
