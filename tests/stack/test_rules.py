"""Rules and alerts, on the real Prometheus, promtool and pint."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import TABLE, eventually, get, run, samples

import build
from orchwatch import names, targets
from orchwatch.config import Config
from orchwatch.mixin import alerting, alerts, generate
from orchwatch.mixin.samples import next_edge

if TYPE_CHECKING:
    from native import Stack
    from orchwatch.mixin.rule import Alert

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("rules")

REPO = Path(__file__).resolve().parents[2]
RULES = sorted((REPO / "prometheus" / "rules").glob("*.yml"))
EVERY = alerts.every(TABLE, alerting.load(Config()))
_EVALUATED_WITHIN_S = 60.0

Json = dict[str, Any]

OWN_TABLE = """
[alerting]
profile = "server"
[operations."review.run"]
target_s = 90
objective = 0.5
[operations."quick-check.run"]
target_s = 0.0005
[levels."queue.length"]
direction = "below"
target = 5
unit = "{item}"
"""
OPERATIONS = """
    import sys
    from orchwatch import operation
    for number in range(20):
        try:
            with operation("rules.probe"):
                if number % 2:
                    raise LookupError
        except LookupError:
            pass
"""


def tool(name: str, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [build.binaries()[name], *words],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=check,
        timeout=240,
    )


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    assert len(RULES) == 3
    checked = tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert checked.stdout.count("SUCCESS") == len(RULES)


def test_pint_finds_nothing_to_say_about_the_rules() -> None:
    command = ("--offline", "--no-color", "--config=prometheus/pint.hcl", "--log-level=warn")
    checked = tool("pint", *command, "lint", "--min-severity=info", "prometheus/rules")
    assert checked.stdout + checked.stderr == ""


def test_the_rules_of_a_users_own_table_and_profile_are_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchwatch.toml").write_text(OWN_TABLE)
    monkeypatch.chdir(tmp_path)
    made = [name for name in generate.FILES if name.startswith("prometheus/rules/")]
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(generate.FILES[name](targets.load()))
    files = [tmp_path / name for name in made]
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *files)
    text = "".join(file.read_text() for file in files)
    assert "review.run" in text
    assert "ratio30d" in text


@pytest.mark.parametrize(
    "file", sorted((REPO / "tests/promtool").glob("*.test.yml")), ids=lambda file: file.name
)
def test_every_alert_fires_in_its_case_and_is_silent_beside_it(file: Path) -> None:
    tested = tool("promtool", "test", "rules", file, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested() -> None:
    tests = "".join(file.read_text() for file in (REPO / "tests/promtool").glob("*.test.yml"))
    for alert in EVERY:
        assert f"{alert.name} fires" in tests
        assert f"{alert.name} is silent" in tests or alert.name == "Watchdog"


@pytest.fixture(scope="module")
def broken(stack: Stack) -> Stack:
    """The stack after operations half of which failed."""
    run(stack, "rules", OPERATIONS)
    return stack


def test_prometheus_evaluates_every_rule(broken: Stack) -> None:
    def evaluated() -> list[Json]:
        groups = get(f"{broken.prometheus_url}/api/v1/rules")["data"]["groups"]
        # The others are evaluated more rarely than a test can wait for.
        quick = [rule for one in groups if one["interval"] < 60 for rule in one["rules"]]
        return quick if all(rule["health"] != "unknown" for rule in quick) else []

    found = eventually(evaluated, _EVALUATED_WITHIN_S)
    assert len(found) > len(EVERY)
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_failing_operations_burn_and_say_which_and_how_many(broken: Stack) -> None:
    (alert,) = eventually(
        lambda: [
            one
            for one in _firing(broken)
            if one["labels"].get("orchestration_operation_name") == "rules.probe"
        ],
        _EVALUATED_WITHIN_S,
    )
    assert alert["labels"]["alertname"] == "ErrorBudgetBurn"
    assert alert["annotations"]["summary"] == "rules.probe: 50% failed, the target is 0.1%"
    assert alert["annotations"]["dashboard_url"].endswith("?var-operation=rules.probe")


def test_no_annotation_of_a_firing_alert_is_broken(broken: Stack) -> None:
    assert eventually(lambda: _firing(broken), _EVALUATED_WITHIN_S)
    for alert in _firing(broken):
        assert "error" not in alert["annotations"]["summary"]
        assert "{{" not in "".join(alert["annotations"].values())


def test_a_share_without_traffic_is_absent(broken: Stack) -> None:
    ended = "operation:orchestration_operations:increase10m"
    for share in ("errors", "within_target"):
        ratio = f"operation:orchestration_{share}:ratio10m"
        assert samples(broken, f"{ratio} unless {ended} > 0") == []
    ratio = "operation:orchestration_errors:ratio10m"
    assert eventually(lambda: samples(broken, f"{ratio} and {ended} > 0"), _EVALUATED_WITHIN_S)


def test_each_target_that_is_broken_burns_and_no_other_does_until_it_is_met_again(
    own_stack: Stack,
) -> None:
    rows = list(TABLE.operations.values())
    segment = count(1)
    for broken in (rows[::2], rows[1::2]):
        burning = {f"LatencyBudgetBurn {row.id}" for row in broken}
        slow = {row.id: next_edge(TABLE, row.target_s) for row in broken}
        quick = {row.id: row.target_s / 2 for row in rows if row not in broken}
        _write_segment(own_stack, next(segment), slow | quick, number=10)
        _wait_until_burning(own_stack, burning)
        _write_segment(own_stack, next(segment), {row.id: row.target_s / 2 for row in broken}, 490)
        _wait_until_burning(own_stack, set())


def _wait_until_burning(stack: Stack, expected: set[str]) -> None:
    eventually(lambda: _burning(stack) == expected, _EVALUATED_WITHIN_S)
    assert _burning(stack) == expected


def _write_segment(stack: Stack, segment: int, durations_s: dict[str, float], number: int) -> None:
    """So many operations of each name that have just ended and took so long."""
    name = f"operations-{segment:06d}"
    lines: list[Json] = [
        {"orchwatch": {"segment": name, "id": secrets.token_hex(16)}, "resourceSpans": []}
    ]
    for operation, duration_s in durations_s.items():
        spans = [_span(operation, duration_s) for _ in range(number)]
        resource = {"attributes": [_attribute(names.SERVICE_NAME, "broken")]}
        scopes = [{"scope": {"name": names.SCOPE}, "spans": spans}]
        lines.append({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (stack.spool / f"{name}.jsonl").write_text(text)


def _span(operation: str, duration_s: float) -> Json:
    ended_ns = time.time_ns()
    return {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": operation,
        "kind": 1,
        "startTimeUnixNano": str(ended_ns - round(duration_s * 1e9)),
        "endTimeUnixNano": str(ended_ns),
        "attributes": [_attribute(names.OPERATION_NAME, operation)],
        "status": {"code": 1},
    }


def _attribute(key: str, value: str) -> Json:
    return {"key": key, "value": {"stringValue": value}}


def _burning(stack: Stack) -> set[str]:
    """The alerts about operations; how busy this machine is does not belong here."""
    return {
        f"{one['labels']['alertname']} {one['labels']['target']}"
        for one in _firing(stack)
        if one["labels"]["kind"] in {"burn", "threshold", "pattern"}
        and one["labels"]["symptom"] in {"latency", "errors"}
    }


def _firing(stack: Stack) -> list[Json]:
    found = get(f"{stack.prometheus_url}/api/v1/alerts")["data"]["alerts"]
    return [one for one in found if one["state"] == "firing"]


@pytest.mark.parametrize(
    "alert", {one.name: one for one in EVERY}.values(), ids=lambda one: one.name
)
def test_what_the_runbook_shows_is_promql(stack: Stack, alert: Alert) -> None:
    assert get(f"{stack.prometheus_url}/api/v1/query", query=alert.look)["status"] == "success"
