from __future__ import annotations

import json
import os
import resource
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.analysis import alert_events
from orchwatch.analysis.alert_events import MONITOR, AlertEvent
from orchwatch.monitor import alert_receiver, alert_stream
from orchwatch.monitor.alert_receiver import AlertReceiver
from orchwatch.monitor.alert_stream import AlertStream
from orchwatch.recording import secret_file, spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = "2026-11-22T20:15:03.118Z"
START_NS = 1_795_378_503_118_000_000
END = "2026-11-22T20:19:03.118Z"
NOT_YET = "0001-01-01T00:00:00Z"


def alert(state: str = "firing", **changed: Any) -> dict[str, Any]:
    """As Alertmanager posts it."""
    return {
        "status": state,
        "labels": {
            "alertname": "LatencyBudgetBurn",
            "severity": "warning",
            "kind": "burn",
            "target": "state.query",
            "orchestration_operation_name": "state.query",
            "service_name": "agents",
        },
        "annotations": {
            "summary": "State query: 68% took at most 50ms, 95% should",
            "recommendation": "Consider state cleanup",
            "runbook_url": "docs/runbook.md#latencybudgetburn",
            "dashboard_url": "http://127.0.0.1:3000/d/orchwatch-operations",
            "value": "0.68",
        },
        "startsAt": START,
        "endsAt": END if state == "resolved" else NOT_YET,
        "generatorURL": "http://127.0.0.1:9090/graph",
        "fingerprint": "e2f1a3b4c5d60718",
        **changed,
    }


def body(*alerts: Any) -> bytes:
    return json.dumps({"version": "4", "receiver": "events", "alerts": list(alerts)}).encode()


@pytest.fixture
def receiver(home: Path) -> AlertReceiver:  # noqa: ARG001 - the stream lies there
    return AlertReceiver(AlertStream())


def _status(receiver: AlertReceiver, content: bytes) -> int:
    return int(receiver.take(content).status.split()[0])


def _written(home: Path) -> list[AlertEvent]:
    return alert_events.latest(home / "spool", 1000)


def test_an_alert_becomes_one_log_record(
    receiver: AlertReceiver, lines: Callable[[str], tuple[list[dict[str, Any]], int]]
) -> None:
    assert _status(receiver, body(alert())) == 200
    (_, line), unreadable = lines("events")
    (record,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    attributes = {pair["key"]: pair["value"] for pair in record["attributes"]}
    assert unreadable == 0
    assert record["eventName"] == "performance_alert"
    assert record["timeUnixNano"] == str(START_NS)
    assert int(record["observedTimeUnixNano"]) > 0
    assert (record["severityNumber"], record["severityText"]) == (13, "warning")
    assert record["body"]["stringValue"] == "State query: 68% took at most 50ms, 95% should"
    assert attributes["orchestration.alert.name"] == {"stringValue": "LatencyBudgetBurn"}
    assert attributes["orchestration.alert.state"] == {"stringValue": "firing"}
    assert attributes["orchestration.operation.name"] == {"stringValue": "state.query"}
    assert attributes["orchestration.alert.start"] == {"intValue": str(START_NS)}
    assert attributes["orchestration.alert.value"] == {"doubleValue": 0.68}
    assert attributes["orchestration.alert.label.service_name"] == {"stringValue": "agents"}


def test_what_is_written_is_read_back(receiver: AlertReceiver, home: Path) -> None:
    receiver.take(body(alert(), alert("resolved")))
    fired, ended = _written(home)
    assert (fired.state, fired.end_ns, fired.fired_s) == ("firing", None, None)
    assert (ended.state, ended.start_ns, ended.fired_s) == ("resolved", START_NS, 240.0)
    assert (ended.target, ended.value, ended.kind) == ("state.query", 0.68, "burn")
    assert ended.labels == {"service_name": "agents"}


def test_a_repeated_notification_is_not_written_again(receiver: AlertReceiver, home: Path) -> None:
    for content in (body(alert()), body(alert(), alert()), body(alert("resolved"))):
        assert _status(receiver, content) == _status(receiver, content) == 200
    assert [event.state for event in _written(home)] == ["firing", "resolved"]


def test_the_next_process_knows_what_was_written(receiver: AlertReceiver, home: Path) -> None:
    receiver.take(body(alert()))
    again = AlertReceiver(AlertStream())
    again.take(body(alert()))
    assert len(_written(home)) == 1
    again.take(body(alert("resolved")))
    AlertReceiver(AlertStream()).take(body(alert(startsAt="2026-11-22T21:00:00Z")))
    assert [event.state for event in _written(home)] == ["firing", "resolved", "firing"]


def test_what_fires_on_while_its_servers_were_killed_begins_and_ends_once(
    receiver: AlertReceiver, home: Path
) -> None:
    receiver.take(body(alert()))
    later = {"startsAt": "2026-11-22T20:16:18.118Z"}
    receiver.take(body(alert(**later)))
    again = AlertReceiver(AlertStream())
    again.take(body(alert(**later)))
    again.take(body(alert("resolved", **later)))
    fired, ended = _written(home)
    assert (fired.start_ns, ended.start_ns, ended.fired_s) == (START_NS, START_NS, 240.0)
    again.take(body(alert(startsAt="2026-11-22T20:19:30Z")))
    assert len(_written(home)) == 3


def test_what_ended_unheard_of_fires_again_the_next_day(
    receiver: AlertReceiver, home: Path
) -> None:
    receiver.take(body(alert()))
    receiver.take(body(alert(startsAt="2026-11-23T20:15:04Z")))
    assert [event.state for event in _written(home)] == ["firing", "firing"]


def test_what_is_known_does_not_grow_without_bound(
    receiver: AlertReceiver, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_stream, "MAX_KNOWN", 3)
    for number in range(9):
        receiver.take(body(alert(fingerprint=f"{number:x}")))
    receiver.take(body(alert(fingerprint="8")))
    assert len(_written(home)) == 9
    receiver.take(body(alert(fingerprint="0")))
    assert len(_written(home)) == 10


def test_deliveries_at_once_write_each_transition_once(home: Path, receiver: AlertReceiver) -> None:
    alerts = [alert(fingerprint=f"{number:x}") for number in range(50)]
    threads = [threading.Thread(target=receiver.take, args=[body(*alerts)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_written(home)) == 50


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"null",
        b"[]",
        b"7",
        b'{"alerts": 7}',
        b'{"alerts": null}',
        b'{"alerts": [7]}',
        b'{"alerts": "text"}',
        b"[" * 100_000,
        body({}),
        body(alert(status="unknown")),
        body(alert(labels={})),
        body(alert(labels=[])),
        body(alert(annotations=["text"])),
        body(alert(fingerprint=None)),
        body(alert(fingerprint="f" * 1000)),
        body(alert(startsAt="yesterday")),
        body(alert(startsAt=7)),
        body(alert(startsAt=NOT_YET)),
        body(alert(startsAt="2026-11-22T20:15:03")),
        body(alert(startsAt="9999-12-31T23:59:59Z")),
        body(alert("resolved", endsAt=NOT_YET)),
    ],
)
def test_what_is_no_notification_is_refused_and_counted(
    receiver: AlertReceiver, home: Path, lost: Callable[[], dict[str, int]], content: bytes
) -> None:
    assert _status(receiver, content) == 400
    assert lost() == {"bad_alert": 1}
    assert _written(home) == []


def test_a_bad_alert_does_not_hold_back_the_others(
    receiver: AlertReceiver,
    home: Path,
    lost: Callable[[], dict[str, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        assert _status(receiver, body(alert(), {})) == 200
    assert len(_written(home)) == 1
    assert lost() == {"bad_alert": 2}
    assert len(caplog.messages) == 1


def test_an_empty_notification_says_nothing(receiver: AlertReceiver, home: Path) -> None:
    assert _status(receiver, body()) == 200
    assert _written(home) == []


def test_long_values_are_cut_and_many_labels_left_out(receiver: AlertReceiver, home: Path) -> None:
    labels = {"alertname": "z", **{f"label_{number:03}": "x" * 5000 for number in range(100)}}
    annotations = {"summary": "s" * 5000, "value": "NaN"}
    receiver.take(body(alert(labels=labels, annotations=annotations)))
    (event,) = _written(home)
    assert (len(event.summary), len(event.labels), event.value) == (1024, 32, None)
    assert {len(text) for text in event.labels.values()} == {1024}
    assert (event.name, event.severity) == ("z", "info")


def test_what_cannot_be_written_is_to_be_sent_again(
    receiver: AlertReceiver, home: Path, lost: Callable[[], dict[str, int]]
) -> None:
    home.mkdir()
    (home / "spool").write_text("in the way")
    assert _status(receiver, body(alert())) == 503
    (home / "spool").unlink()
    spool._spools[spool.EVENTS]._retry_at = 0.0
    assert _status(receiver, body(alert())) == 200
    assert len(_written(home)) == 1
    assert lost() == {}


def test_a_half_written_line_is_written_again(receiver: AlertReceiver, home: Path) -> None:
    receiver.take(body(alert(fingerprint="1")))
    segment = home / "spool" / "events-000001.jsonl"
    segment.write_bytes(segment.read_bytes()[:-40])
    again = AlertReceiver(AlertStream())
    again.take(body(alert(fingerprint="1")))
    again.take(body(alert(fingerprint="2")))
    assert [event.fingerprint for event in _written(home)] == ["1", "2"]


def test_a_full_disk_costs_no_alert_and_doubles_none(receiver: AlertReceiver, home: Path) -> None:
    alerts = [alert(fingerprint=f"{number:x}") for number in range(5)]
    receiver.take(body(alerts[0]))
    line_bytes = (home / "spool" / "events-000001.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * line_bytes, limits[1]))
    try:
        for _ in range(3):
            assert _status(receiver, body(*alerts)) == 503
            spool._spools[spool.EVENTS]._retry_at = 0.0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _status(receiver, body(*alerts)) == 200
    assert [event.fingerprint for event in _written(home)] == ["0", "1", "2", "3", "4"]


def test_the_secret_is_the_users_own(home: Path, receiver: AlertReceiver) -> None:
    home.mkdir(mode=0o700)
    route = receiver.route()
    file = home / "alertmanager" / "credentials"
    assert alert_receiver.credentials_path() == str(file)
    assert route.secret == f"Bearer {secret_file.read(str(file))}".encode()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(file.parent).st_mode) == 0o700


def seen(state: str, start_s: int, end_s: int | None = None) -> AlertEvent:
    """The same as what the monitor process itself sees."""
    return AlertEvent(
        name="LatencyBudgetBurn",
        target="state.query",
        state="resolved" if state == "resolved" else "firing",
        severity="warning",
        summary="",
        start_ns=START_NS + start_s * 10**9,
        end_ns=None if end_s is None else START_NS + end_s * 10**9,
        fingerprint="own",
        evaluator=MONITOR,
    )


def test_the_evaluator_that_writes_that_it_fires_writes_its_end(home: Path) -> None:
    stream = AlertStream()
    receiver = AlertReceiver(stream)
    assert stream.write([seen("firing", -5)])
    receiver.take(body(alert()))
    receiver.take(body(alert("resolved")))
    assert stream.write([seen("resolved", -5, 230)])
    receiver.take(body(alert("resolved", endsAt="2026-11-22T20:19:33Z")))
    receiver.take(body(alert()))
    assert [event.evaluator for event in _written(home)] == [MONITOR, MONITOR]
    receiver.take(body(alert(startsAt="2026-11-22T20:30:00Z")))
    assert stream.write([seen("firing", 900), seen("resolved", 900, 960)])
    receiver.take(body(alert("resolved", endsAt="2026-11-22T20:40:00Z")))
    assert [event.evaluator for event in _written(home)[2:]] == ["alertmanager"] * 2


def test_an_alert_that_a_server_never_ended_does_not_silence_the_monitor(home: Path) -> None:
    stream = AlertStream()
    AlertReceiver(stream).take(body(alert()))
    assert stream.write([seen("firing", 7200)])
    assert [event.evaluator for event in _written(home)] == ["alertmanager", MONITOR]
