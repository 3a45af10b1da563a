from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.diagnosis import secret_checks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, with hooks that show the secret, readable by the user only."""
    home.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "config"))
    path = tmp_path / "config" / "settings.json"
    path.parent.mkdir()
    path.write_text(_settings(registration.make_secret()))
    path.chmod(0o600)
    return path


def _settings(secret: str) -> str:
    hooks: dict[str, Any] = {
        "PreToolUse": [{"hooks": [registration.http_entry(secret)]}],
        "Setup": [{"hooks": [registration.command_entry("Setup")]}],
    }
    return json.dumps({"hooks": hooks})


def _found() -> list[str]:
    return [f"{check.state}: {check.found}" for check in secret_checks.check_secrets()]


def test_secrets_that_are_the_users_own_need_no_word(settings: Path) -> None:
    assert settings.exists()
    assert _found() == []


def test_a_home_without_secrets_is_not_at_fault(settings: Path, home: Path) -> None:
    settings.unlink()
    (home / "hook-secret").unlink()
    assert _found() == []


def test_settings_and_secrets_that_others_may_read_are_named(settings: Path, home: Path) -> None:
    settings.chmod(0o644)
    (home / "hook-secret").chmod(0o640)
    (home / "alertmanager").mkdir()
    (home / "alertmanager" / "credentials").write_text("s")
    (home / "alertmanager" / "credentials").chmod(0o604)
    checks = list(secret_checks.check_secrets())
    assert [check.found.split(" ")[0] for check in checks] == [
        str(home / "hook-secret"),
        str(home / "alertmanager" / "credentials"),
        str(settings),
    ]
    for check in checks:
        command, mode, path = check.remedy.split(" ")
        assert (command, check.state) == ("chmod", "fail")
        assert not int(mode, 8) & (stat.S_IRWXG | stat.S_IRWXO)
        assert check.found.startswith(path)


def test_hooks_that_show_another_secret_are_named(settings: Path) -> None:
    settings.write_text(_settings("another"))
    (line,) = _found()
    assert line.startswith(f"fail: {settings} holds another secret than the monitor's")


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "{}", '{"hooks": []}', '{"hooks": {"Stop": [3, {"hooks": 4}]}}', "\udcff"],
)
def test_settings_that_cannot_be_understood_hold_no_secret(settings: Path, text: str) -> None:
    settings.write_bytes(text.encode("utf-8", "surrogateescape"))
    settings.chmod(0o644)
    assert _found() == []
