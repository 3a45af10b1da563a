from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.diagnosis.test_server_checks import VARIABLES, Fake, checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.diagnosis.check import Check

pytestmark = pytest.mark.usefixtures("home")

NOW = datetime(2026, 11, 30, tzinfo=UTC)
RULES = [("QueueFull", "warning"), ("ExportsStalled", "critical"), ("Watchdog", "none")]


def matcher(name: str, value: str, *, regex: bool = False, equal: bool = True) -> dict[str, Any]:
    return {"name": name, "value": value, "isRegex": regex, "isEqual": equal}


def silence(*matchers: dict[str, Any], hours: float = 2, state: str = "active") -> dict[str, Any]:
    return {
        "id": "1",
        "status": {"state": state},
        "matchers": matchers,
        "startsAt": NOW.isoformat().replace("+00:00", ".000Z"),
        "endsAt": (NOW + timedelta(hours=hours)).isoformat().replace("+00:00", ".000Z"),
        "createdBy": "anna",
        "comment": "why",
    }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    with Fake() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for variable in VARIABLES:
            monkeypatch.setenv(variable, server.url)
        rules = [{"name": name, "labels": {"severity": severity}} for name, severity in RULES]
        server.answers["/api/v1/rules"] = (200, {"data": {"groups": [{"rules": rules}]}})
        yield server
        server.shutdown()


def check(fake: Fake, *silences: dict[str, Any]) -> Check:
    fake.answers["/api/v2/silences"] = (200, silences)
    return checks()["silences"]


QUEUE = matcher("alertname", "QueueFull")


def test_silences_that_end_within_a_day_are_no_news(fake: Fake) -> None:
    expired = silence(QUEUE, hours=999, state="expired")
    found = check(fake, silence(QUEUE, hours=24), expired)
    assert found.state == "ok"
    assert found.found == "1 silence; none hides every alert or lasts longer than 24 h"


@pytest.mark.parametrize("state", ["active", "pending"])
def test_one_that_lasts_longer_is_named_with_its_end_and_who_set_it(fake: Fake, state: str) -> None:
    found = check(fake, silence(QUEUE, hours=24.1, state=state))
    assert found.state == "warn"
    assert found.found == (
        'alerts are silenced: alertname="QueueFull" until 2026-12-01 00:06 UTC, by anna'
    )
    assert found.remedy.endswith(f"{fake.url}/#/silences")


@pytest.mark.parametrize(
    "matchers",
    [
        [matcher("alertname", ".+", regex=True)],
        [matcher("severity", "warning|critical", regex=True)],
        [matcher("alertname", "Nothing", equal=False)],
        [matcher("severity", "none|info", regex=True, equal=False)],
        [matcher("team", ""), matcher("severity", ".*i.*", regex=True)],
    ],
)
def test_one_that_hides_every_alert_is_named_however_short(
    fake: Fake, matchers: list[dict[str, Any]]
) -> None:
    found = check(fake, silence(*matchers, hours=0.1))
    assert found.state == "warn"
    assert "hides every alert until 2026-11-30 00:06 UTC" in found.found


@pytest.mark.parametrize(
    "one",
    [
        matcher("severity", "warning"),
        matcher("severity", "critical", equal=False),
        matcher("alertname", "Queue", regex=True),
        matcher("alertname", r"\C", regex=True),
    ],
)
def test_one_that_leaves_an_alert_is_none_of_those(fake: Fake, one: dict[str, Any]) -> None:
    assert check(fake, silence(one)).state == "ok"


def test_of_many_the_first_are_shown_and_the_others_counted(fake: Fake) -> None:
    found = check(fake, *[silence(QUEUE, hours=48)] * 5)
    assert found.found.count("QueueFull") == 3
    assert found.found.endswith("; and 2 more")


@pytest.mark.parametrize("answer", [(500, []), (200, {"no": "list"}), (200, [{"status": {}}])])
def test_an_alertmanager_that_does_not_tell_its_silences_is_no_failure(
    fake: Fake, answer: tuple[int, object]
) -> None:
    fake.answers["/api/v2/silences"] = answer
    assert "silences" not in checks()


def test_without_prometheus_a_long_one_is_still_seen(fake: Fake) -> None:
    fake.answers["/api/v1/rules"] = (500, {})
    assert check(fake, silence(QUEUE, hours=48)).state == "warn"
    assert check(fake, silence(matcher("alertname", ".+", regex=True))).state == "ok"
