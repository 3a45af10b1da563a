from __future__ import annotations

import pytest

from orchwatch.mixin.lib import alerting, promql
from orchwatch.targets import config
from orchwatch.targets.config import Config, ConfigError

SHIPPED = config.read_toml(alerting.FILE)


def settings(**own: str) -> alerting.Settings:
    return alerting.load(Config(alerting=own))


def test_a_laptop_is_what_is_generated_unless_another_profile_is_set() -> None:
    assert settings().profile == "laptop"
    assert settings(profile="server").profile == "server"


def test_the_servers_burn_factors_come_out_as_in_the_workbook() -> None:
    assert [round(burn.factor, 9) for burn in settings(profile="server").burns] == [14.4, 6, 3, 1]


@pytest.mark.parametrize("profile", SHIPPED["profiles"])
def test_a_burn_spends_its_share_of_the_budget_within_its_long_window(profile: str) -> None:
    found = settings(profile=profile)
    for burn, shipped in zip(found.burns, SHIPPED["profiles"][profile]["burns"], strict=True):
        of_period = promql.seconds(burn.long) / promql.seconds(found.period)
        assert burn.factor * of_period == pytest.approx(shipped["budget"])
        assert promql.seconds(burn.short) < promql.seconds(burn.long)


def test_a_burn_that_no_share_of_bad_operations_reaches_is_left_out() -> None:
    found = settings(profile="server")
    assert len(found.burns_for(0.95)) == 4
    # 14.4 and 6 times half of all operations cannot be bad.
    assert [round(burn.factor) for burn in found.burns_for(0.5)] == [1]


@pytest.mark.parametrize("profile", SHIPPED["profiles"])
@pytest.mark.parametrize("objective", [1e-9, 0.05, 0.3, 0.5, 0.95, 0.999, 0.9999999, 1])
def test_something_burns_for_every_objective(profile: str, objective: float) -> None:
    burns = settings(profile=profile).burns_for(objective)
    assert burns
    for burn in burns:
        assert 0 <= burn.bad_share(objective) < 1


def test_a_promise_that_is_too_small_for_every_pair_burns_where_it_is_not_kept() -> None:
    (burn,) = settings().burns_for(0.3)
    assert burn.bad_share(0.3) == pytest.approx(0.7)
    assert burn.long == SHIPPED["profiles"]["laptop"]["burns"][-1]["long"]


def test_where_all_is_promised_the_quickest_pair_says_that_something_was_bad() -> None:
    (burn,) = settings().burns_for(1)
    assert (burn.bad_share(1), burn.long) == (0, "15m")


def test_every_section_names_its_source() -> None:
    for name in (
        "budget",
        "readings",
        "prediction",
        "anomaly",
        "regression",
        "messages",
        "pipeline",
    ):
        assert SHIPPED[name]["source"]
    assert all(profile["source"] for profile in SHIPPED["profiles"].values())


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"profil": "server"}, "alerting.profil: unknown key; known are grafana, profile, runbook"),
        ({"profile": "desktop"}, "alerting.profile: must be one of server, laptop, not 'desktop'"),
        ({"grafana": ""}, "alerting.grafana: must be a string, not ''"),
        ({"grafana": "127.0.0.1:3000"}, "alerting.grafana: must be an address such as https://"),
        ({"grafana": "http://"}, "alerting.grafana: must be an address such as https://"),
        ({"runbook": "https://wiki/#alerts"}, "alerting.runbook: must be an address such as"),
        ({"runbook": "http://{{x}}"}, "alerting.runbook: must be one line of printable text"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_named(own: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        settings(**own)


@pytest.mark.parametrize("text", ["", "5", "m", "0m", "1.5h", "5 m", "-5m", "5w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        promql.seconds(text)
