from __future__ import annotations

import http.server
import json
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchwatch.diagnosis import audit, prometheus_audit
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.conftest import Record

CONFIG = Path(__file__).parents[3] / "collector" / "config.yaml"
S = 10**9
# Long enough ago to be missed.
THEN_NS = time.time_ns() - 600 * S


class Servers(http.server.ThreadingHTTPServer):
    """Prometheus with these samples of one operation's counter, and a Tempo that holds nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.samples: list[tuple[float, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str) -> dict[str, Any]:
        if path == "/api/v1/query_range":
            return {"data": {"result": [{"metric": {}, "values": [[time.time(), "1"]]}]}}
        if path == "/api/v1/query":
            labels = {"orchestration_operation_name": "state.query"}
            values = [[at_s, str(value)] for at_s, value in self.samples]
            return {"data": {"result": [{"metric": labels, "values": values}]}}
        return {"metrics": {}}


class Answer(http.server.BaseHTTPRequestHandler):
    server: Servers

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.answer(self.path.partition("?")[0])).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[Servers]:
    with Servers() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def examine(home: Path, servers: Servers, **selected: Any) -> audit.Audit:
    with Store(home) as store:
        selection = Selection(**selected)
        return audit.examine(
            store, tempo_url=servers.url, prometheus_url=servers.url, selection=selection
        )


def in_prometheus(home: Path, servers: Servers, **selected: Any) -> prometheus_audit.InPrometheus:
    found = examine(home, servers, **selected).prometheus
    assert found is not None
    return found


def test_the_flush_interval_is_the_collectors() -> None:
    connectors = yaml.safe_load(CONFIG.read_text())["connectors"]
    interval = connectors["span_metrics"]["metrics_flush_interval"]
    assert interval == f"{prometheus_audit.FLUSH_INTERVAL_S:g}s"


def test_an_operation_is_read_well_within_the_time_that_is_allowed_for_it() -> None:
    receivers = yaml.safe_load(CONFIG.read_text())["receivers"]
    (every_ms,) = re.findall(r"^(\d+)ms$", receivers["otlp_json_file/operations"]["poll_interval"])
    assert int(every_ms) / 1000 < prometheus_audit._READ_WITHIN_S


def test_what_is_young_and_found_is_not_pending(
    home: Path, record: Record, servers: Servers
) -> None:
    for _ in range(5):
        record(end_ns=THEN_NS)
    for _ in range(3):
        record(end_ns=time.time_ns())
    for counted, pending, missing in ((8, 0, 0), (6, 2, 0), (5, 3, 0), (4, 3, 1)):
        servers.samples = [(time.time() - 1, counted)]
        found = in_prometheus(home, servers)
        assert (found.expected, found.found, found.pending) == (8, counted, pending)
        assert sum(found.uncounted.values()) == missing
        assert found.expected == found.found + found.pending + missing


def test_what_was_counted_beyond_what_was_emitted_is_not_found(
    home: Path, record: Record, servers: Servers
) -> None:
    record(end_ns=THEN_NS)
    servers.samples = [(THEN_NS / S + 2, 4)]
    found = in_prometheus(home, servers)
    assert (found.expected, found.found, found.pending) == (1, 1, 0)
    assert found.surplus == {"state.query": 3}


def test_the_columns_of_tempo_add_up(home: Path, record: Record, servers: Servers) -> None:
    for end_ns in (THEN_NS, THEN_NS, time.time_ns()):
        record(end_ns=end_ns)
    found = examine(home, servers).tempo
    assert (found.expected, found.found, found.pending) == (3, 0, 1)
    assert (len(found.lost), len(found.undelivered)) == (0, 2)


@pytest.mark.parametrize(
    ("ended_s", "forgotten"),
    # Seconds after the last flush before the restart.
    [((-1.5,), 0), ((-0.5, 0.5, 1.9), 3), ((2.5,), 0), ((0.5, 100), 1)],
)
def test_a_restart_explains_what_ended_when_it_had_last_sent_its_counts_and_no_more(
    home: Path, record: Record, servers: Servers, ended_s: tuple[float, ...], forgotten: int
) -> None:
    flush_s = THEN_NS // S
    record(end_ns=THEN_NS - 50 * S)
    for seconds in ended_s:
        record(end_ns=flush_s * S + int(seconds * S))
    record(end_ns=THEN_NS + 200 * S)
    samples = [(-50.0, 1), (0.0, 1), (200.0, 0), (201.0, 1)]
    servers.samples = [(flush_s + at_s, value) for at_s, value in samples]
    found = examine(home, servers)
    assert found.prometheus is not None
    assert found.prometheus.restarts == 1
    assert found.prometheus.uncounted == {"state.query": len(ended_s)}
    assert sum(found.prometheus.forgotten.values()) == forgotten
    assert found.counting_is_explained == (forgotten == len(ended_s))


def test_a_restart_explains_nothing_of_what_was_counted(
    home: Path, record: Record, servers: Servers
) -> None:
    flush_s = THEN_NS // S
    for seconds in (-50, 1, 200):
        record(end_ns=(flush_s + seconds) * S)
    samples = [(-50.0, 1), (0.0, 1), (200.0, 0), (201.0, 2)]
    servers.samples = [(flush_s + at_s, value) for at_s, value in samples]
    found = in_prometheus(home, servers)
    assert (found.uncounted, found.forgotten, found.unexplained) == ({}, {}, 0)


def test_what_ended_before_the_window_is_counted(
    home: Path, record: Record, servers: Servers
) -> None:
    for end_ns in (THEN_NS, THEN_NS, time.time_ns()):
        record(end_ns=end_ns)
    assert examine(home, servers, since_ns=THEN_NS + S).earlier == 2
    assert examine(home, servers, since_ns=THEN_NS - S).earlier == 0
    assert examine(home, servers).earlier == 0


def test_only_what_is_selected_is_looked_for(home: Path, record: Record, servers: Servers) -> None:
    record("state.query", end_ns=THEN_NS - 9 * S, attributes={"session.id": "s"})
    record("state.query", end_ns=THEN_NS)
    record("hook.process", end_ns=THEN_NS, family="history")
    for selected, expected in (
        ({"session_id": "s"}, 1),
        ({"until_ns": THEN_NS - S}, 1),
        ({"service": "orchestration"}, 3),
        ({"service": "shop"}, 0),
        ({"operation": "hook.process"}, 1),
        ({"since_ns": THEN_NS - S}, 2),
        ({"since_ns": THEN_NS - 20 * S, "until_ns": THEN_NS - S, "operation": "state.query"}, 1),
    ):
        found = examine(home, servers, **selected)
        assert found.tempo.expected == sum(found.emitted.values()) == expected, selected
        asked = not selected.keys() - {"operation", "since_ns"}
        assert (found.prometheus is not None) == asked, selected


def test_of_an_operation_only_its_counters_are_compared(
    home: Path, record: Record, servers: Servers
) -> None:
    record("state.query", end_ns=THEN_NS)
    record("hook.process", end_ns=THEN_NS)
    servers.samples = [(THEN_NS / S + 2, 4)]
    found = in_prometheus(home, servers, operation="hook.process")
    assert (found.expected, found.uncounted, found.surplus) == (1, {"hook.process": 1}, {})
    found = in_prometheus(home, servers, operation="state.query")
    assert (found.expected, found.uncounted, found.surplus) == (1, {}, {"state.query": 3})
