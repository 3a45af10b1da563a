"""Prometheus keeps what the rules look back on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from orchwatch.mixin import generate
from orchwatch.mixin.lib import alerting, promql
from orchwatch.targets import target_table

FLAGS = Path(__file__).resolve().parents[2] / "prometheus" / "flags"
PROFILES = tomllib.loads(alerting.FILE.read_text())["profiles"]
LOOKS_BACK = re.compile(r"\[(\w+)(?::\w*)?\](?:\s+offset\s+(\w+))?")


def flag(name: str) -> str:
    (value,) = re.findall(rf"^--{re.escape(name)}=(\S+)$", FLAGS.read_text(), re.MULTILINE)
    return str(value)


@pytest.mark.parametrize("profile", PROFILES)
def test_prometheus_keeps_what_the_longest_window_of_a_profile_needs(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orchwatch.toml").write_text(f'[alerting]\nprofile = "{profile}"\n')
    monkeypatch.chdir(tmp_path)
    table = target_table.load()
    rules = "".join(
        make(table) for name, make in generate.FILES.items() if name.startswith("prometheus/rules/")
    )
    needed_s = max(
        promql.seconds(window) + (promql.seconds(offset) if offset else 0)
        for window, offset in LOOKS_BACK.findall(rules)
    )
    assert needed_s >= promql.seconds(PROFILES[profile]["period"])
    assert promql.seconds(flag("storage.tsdb.retention.time")) >= needed_s


def test_what_prometheus_keeps_has_an_end() -> None:
    assert re.fullmatch(r"\d+GB", flag("storage.tsdb.retention.size"))
