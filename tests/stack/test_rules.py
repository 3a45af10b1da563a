"""Rules and alerts, on the real Prometheus, promtool and pint."""

from __future__ import annotations

import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import (
    EVALUATED_WITHIN_S,
    TABLE,
    eventually,
    get,
    opened,
    run,
    samples,
)

import build
from orchwatch import semconv
from orchwatch.mixin import generate
from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.lib import alerting
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from native import Stack
    from orchwatch.mixin.lib.rule import AlertRule

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("rules")

REPO = Path(__file__).resolve().parents[2]
PINT = REPO / "prometheus" / "pint.hcl"
RULES = sorted((REPO / "prometheus" / "rules").glob("*.yml"))
EVERY = catalog.every(TABLE, alerting.load(Config()))

Json = dict[str, Any]

OWN_TABLE = """
[alerting]
profile = "server"
[operations."review.run"]
target_s = 90
objective = 0.5
[operations."quick-check.run"]
target_s = 0.0005
objective = 0.9999999
[operations."hardly told from the first edge"]
target_s = 0.0011
[operations.'a "b" \\c | d & e']
target_s = 3600
alert_s = 5000
objective = 0.01
[reliability."availability"]
target = 1
[reliability."error.rate"]
target = 0
warning = 0
[reliability."consistency"]
target = 0.99
[levels."queue.length"]
direction = "below"
target = 5
unit = "{item}"
[levels."queue.rejected"]
direction = "below"
target = 0
unit = "{item}"
[levels."disk-cache.hits"]
direction = "above"
target = 1
unit = "1"
"""
OPERATIONS = """
    import sys
    from orchwatch import operation
    for number in range(20):
        try:
            with operation("dependency.resolve"):
                if number % 2:
                    raise LookupError
        except LookupError:
            pass
"""


def tool(
    name: str, *words: str | Path, check: bool = True, cwd: Path = REPO
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [build.binaries()[name], *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=check,
        timeout=600,
    )


def pint(root: Path) -> str:
    """What pint has to say about the rules below a directory."""
    command = ("--offline", "--no-color", f"--config={PINT}", "--log-level=warn")
    checked = tool("pint", *command, "lint", "--min-severity=info", "prometheus/rules", cwd=root)
    return checked.stdout + checked.stderr


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    assert len(RULES) == 3
    checked = tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert checked.stdout.count("SUCCESS") == len(RULES)


def test_pint_finds_nothing_to_say_about_the_rules() -> None:
    assert pint(REPO) == ""


# promtool evaluates every rule for every case, on busy cores.
@pytest.mark.timeout(1200)
def test_the_rules_of_a_users_own_table_and_profile_are_as_good(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchwatch.toml").write_text(OWN_TABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHWATCH_ACCESS_DIR", str(stack.access))
    generate.write(tmp_path, checkout=False)
    configs = (REPO / "collector" / "config.yaml", tmp_path / "collector" / "buckets.yaml")
    tool("otelcol", "validate", *(f"--config={config}" for config in configs))
    rules = sorted((tmp_path / "prometheus" / "rules").glob("*.yml"))
    assert "ratio3d" in rules[0].read_text()
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *rules)
    assert pint(tmp_path) == ""
    for file in sorted((tmp_path / "tests" / "promtool").glob("*.yml")):
        tested = tool("promtool", "test", "rules", file, check=False)
        assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.timeout(1200)
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

    found = eventually(evaluated, EVALUATED_WITHIN_S)
    assert len(found) > len(EVERY)
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_failing_operations_burn_and_say_which_and_how_many(broken: Stack) -> None:
    name = semconv.DEPENDENCY_RESOLVE
    (alert,) = eventually(
        lambda: [
            one
            for one in _firing(broken)
            if one["labels"].get("orchestration_operation_name") == name
            and one["labels"]["alertname"] == "ErrorBudgetBurn"
        ],
        EVALUATED_WITHIN_S,
    )
    annotations = alert["annotations"]
    # Other tests of this stack may run the same operation.
    assert re.fullmatch(rf"{name}: [\d.]+% failed, at most 0.1% should", annotations["summary"])
    # Half of them, to within what the extrapolation of two series may differ by.
    assert 0 < float(annotations["value"]) < 0.505
    assert annotations["dashboard_url"].endswith(f"?var-operation={name}")


def test_no_annotation_of_a_firing_alert_is_broken(broken: Stack) -> None:
    assert eventually(lambda: _firing(broken), EVALUATED_WITHIN_S)
    for alert in _firing(broken):
        assert "error" not in alert["annotations"]["summary"]
        assert "{{" not in "".join(alert["annotations"].values())


def test_a_share_without_traffic_is_absent(broken: Stack) -> None:
    ended = "operation:orchestration_operations:increase10m"
    for share in ("errors", "within_target"):
        ratio = f"operation:orchestration_{share}:ratio10m"
        assert samples(broken, f"{ratio} unless {ended} > 0") == []
    ratio = "operation:orchestration_errors:ratio10m"
    assert eventually(lambda: samples(broken, f"{ratio} and {ended} > 0"), EVALUATED_WITHIN_S)


def _firing(stack: Stack) -> list[Json]:
    found = get(f"{stack.prometheus_url}/api/v1/alerts")["data"]["alerts"]
    return [one for one in found if one["state"] == "firing"]


@pytest.mark.parametrize(
    "alert", {one.name: one for one in EVERY}.values(), ids=lambda one: one.name
)
def test_what_the_runbook_shows_is_promql(stack: Stack, alert: AlertRule) -> None:
    assert get(f"{stack.prometheus_url}/api/v1/query", query=alert.look)["status"] == "success"


def test_prometheus_serves_the_runbook_that_alerts_link_to(stack: Stack) -> None:
    path = urllib.parse.urlparse(alerting.load(Config()).runbook).path
    with opened(f"{stack.prometheus_url}{path}") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.read() == (REPO / "prometheus" / "assets" / "runbook.html").read_bytes()
