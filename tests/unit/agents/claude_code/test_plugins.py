from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.agents.claude_code.settings.plugins import plugin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.agents.claude_code.conftest import Recording

pytestmark = pytest.mark.usefixtures("home")
COMMAND = '"${CLAUDE_PLUGIN_ROOT}/hooks/start.sh" now'
SHARED = "${CLAUDE_PLUGIN_ROOT}/hooks/stop.sh"


@pytest.fixture
def claude(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001 - first
    """Claude Code's folder, in which two plugins are installed."""
    folder = tmp_path / "claude"
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(folder))
    installed = {}
    for name, commands in (("superpowers", (COMMAND, SHARED)), ("other", (SHARED,))):
        place = tmp_path / name
        (place / "hooks").mkdir(parents=True)
        hooks = [{"type": "command", "command": command} for command in commands]
        text = json.dumps({"hooks": {"SessionStart": [{"matcher": "startup", "hooks": hooks}]}})
        (place / "hooks" / "hooks.json").write_text(text)
        installed[f"{name}@market"] = [{"scope": "user", "installPath": str(place)}]
    registered(folder, {"version": 2, "plugins": installed})
    return folder


def registered(folder: Path, value: object) -> None:
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "plugins" / "installed_plugins.json").write_text(json.dumps(value))


@pytest.mark.usefixtures("claude")
def test_a_command_is_of_the_installed_plugin_that_alone_has_it() -> None:
    assert plugin_of(COMMAND) == "superpowers"
    assert not plugin_of(SHARED)
    assert not plugin_of("${CLAUDE_PLUGIN_ROOT}/hooks/unknown.sh")
    assert not plugin_of("/home/ada/hooks/start.sh now")


@pytest.mark.parametrize(
    ("command", "plugin"),
    [
        ("/root/.claude/plugins/cache/market/superpowers/5.0.1/hooks/run.sh a", "superpowers"),
        ('node "/home/a/.claude/plugins/marketplaces/m/plugins/lint/x.js"', "lint"),
        ("C:\\Users\\a\\.claude\\plugins\\cache\\m\\lint\\1\\x.cmd", "lint"),
        ("/work/plugins/mine/x.sh", ""),
        ("", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_a_command_whose_path_lies_in_a_plugin_is_of_that_one(command: object, plugin: str) -> None:
    assert plugin_of(command) == plugin


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"plugins": []},
        {"plugins": {"a@b": 7, "c": [None, {"installPath": 7}, {"installPath": "/nowhere"}]}},
        {"plugins": {"a b; rm@m": [{"installPath": "/"}]}},
    ],
)
def test_an_odd_register_of_plugins_names_none(claude: Path, value: object) -> None:
    registered(claude, value)
    assert not plugin_of(COMMAND)


def test_a_plugin_without_regular_files_names_none(claude: Path, tmp_path: Path) -> None:
    (claude / "plugins" / "installed_plugins.json").unlink()
    assert not plugin_of(COMMAND)
    (claude / "plugins" / "installed_plugins.json").write_text("{")
    assert not plugin_of(COMMAND)
    hooks = tmp_path / "superpowers" / "hooks" / "hooks.json"
    hooks.unlink()
    hooks.mkdir()
    registered(
        claude, {"plugins": {"superpowers@m": {"installPath": str(tmp_path / "superpowers")}}}
    )
    assert not plugin_of(COMMAND)


@pytest.mark.usefixtures("claude")
def test_a_sessions_hooks_name_their_plugin_and_no_command(
    session: Recording,
    projects: Path,
    home: Path,
    run_import: Callable[..., Any],
    history: Callable[[], list[dict[str, Any]]],
) -> None:
    session.prompt(0)
    for second, command in ((1.0, COMMAND), (2.0, "./mine.sh")):
        attached = {
            "type": "hook_success",
            "hookEvent": "UserPromptSubmit",
            "hookName": "UserPromptSubmit",
            "durationMs": 100,
            "command": command,
        }
        session.write(second, type="attachment", attachment=attached)
    session.say(3)
    run_import(projects)
    hooks = [span["attributes"] for span in history() if span["name"] == semconv.HOOK_PROCESS]
    assert [one.get(semconv.HOOK_PLUGIN) for one in hooks] == ["superpowers", None]
    for path in home.rglob("*"):
        assert not path.is_file() or b"start.sh" not in path.read_bytes()
