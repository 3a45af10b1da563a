from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import message_telemetry
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.testing import Captured, capture

if TYPE_CHECKING:
    from pathlib import Path

TOPIC = "orchestration.message.topic"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus.sqlite3"


def counted(captured: Captured) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = {}
    for one in captured.counters:
        key = one.name.removeprefix("orchestration.message."), str(one.attributes[TOPIC])
        sums[key] = sums.get(key, 0) + one.value
    return sums


def test_what_happens_is_counted_by_topic_and_each_message_once(path: Path) -> None:
    with capture() as captured:
        with MessageBus(path, "planner") as planner, MessageBus(path, "agent-1") as bus:
            mailbox = bus.mailbox(["builds"], max_tries=1)
            planner.send("agent-1", "task")
            planner.publish("builds", "done")
            planner.publish("builds", "done")
            planner.broadcast("stop")
            mailbox.handle(lambda _message: None, limit=2)
            message = mailbox.receive()
            assert message is not None
            mailbox.reject(message, "no")
            mailbox.remove()
        with MessageBus(path, "late"):
            pass
    assert counted(captured) == {
        ("sent", "(direct)"): 1,
        ("delivered", "(direct)"): 1,
        ("sent", "builds"): 2,
        ("delivered", "builds"): 1,
        ("dead", "builds"): 1,
        ("sent", "(broadcast)"): 1,
        ("lost", "(broadcast)"): 1,
    } | {key: value for key, value in counted(captured).items() if key[0] == "late"}
    assert {one.unit for one in captured.counters} == {"{message}"}


def test_topics_beyond_the_first_few_are_one(path: Path) -> None:
    with capture() as captured, MessageBus(path, "planner") as bus:
        with bus.mailbox([f"topic-{n}" for n in range(50)]):
            for number in range(50):
                bus.publish(f"topic-{number}", "done")
            bus.publish("topic-0", "done")
        assert len(bus.totals()) == 21
    sent = counted(captured)
    assert len(sent) == 21
    assert sent["sent", "(other)"] == 30
    assert sent["sent", "topic-0"] == 2


def test_the_oldest_unread_message_has_an_age_until_it_is_acknowledged(path: Path) -> None:
    with MessageBus(path, "agent-1") as bus:
        mailbox = bus.mailbox(["t"])
        with MessageBus(path, "planner") as planner:
            planner.send("agent-1", "task")
            planner.publish("t", "done")
            time.sleep(0.05)
            planner.publish("t", "done")
        ages = {label: one.oldest_unread_s for label, one in bus.totals().items()}
        assert all(age >= 0.05 for age in ages.values())
        assert set(ages) == {"(direct)", "t"}
        mailbox.handle(lambda _message: None)
        with capture() as captured:
            bus.close()
        assert {(one.attributes[TOPIC], one.value) for one in captured.gauges} == {
            ("(direct)", 0.0),
            ("t", 0.0),
        }
        assert {(one.name, one.unit) for one in captured.gauges} == {
            ("orchestration.message.unread.age", "s")
        }


def test_a_bus_in_use_reports_regularly_and_one_at_rest_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_telemetry, "EXPORT_INTERVAL_S", 0.02)
    with MessageBus(path, "agent-1") as bus, bus.mailbox() as mailbox:
        bus.send("agent-1", "task")
        mailbox.handle(lambda _message: None)
        with capture() as captured:
            mailbox.receive(0.3)
        assert len(captured.gauges) >= 2


def test_what_cannot_be_told_stops_no_message_and_is_told_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_telemetry, "EXPORT_INTERVAL_S", 0.0)
    connection = sqlite3.connect(path, isolation_level=None)
    with MessageBus(path, "agent-1") as bus, bus.mailbox() as mailbox:
        connection.execute("ALTER TABLE exported RENAME TO away")
        with capture() as captured:
            bus.send("agent-1", "task", 7)
            assert mailbox.handle(lambda _message: None) == 1
            connection.execute("ALTER TABLE away RENAME TO exported")
            assert captured.counters == []
            mailbox.receive()
        connection.close()
    assert counted(captured)["sent", "(direct)"] == 1


def test_a_bus_without_messages_has_no_series(path: Path) -> None:
    with capture() as captured, MessageBus(path, "agent-1") as bus:
        bus.mailbox().close()
    assert (captured.counters, captured.gauges) == ([], [])
