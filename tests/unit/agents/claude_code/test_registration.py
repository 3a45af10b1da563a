from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.recording import secret_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# https://code.claude.com/docs/en/hooks
ALL_EVENTS = [
    "SessionStart", "Setup", "UserPromptSubmit", "UserPromptExpansion", "PreToolUse",
    "PermissionRequest", "PermissionDenied", "PostToolUse", "PostToolUseFailure",
    "PostToolBatch", "Notification", "MessageDisplay", "SubagentStart", "SubagentStop",
    "TaskCreated", "TaskCompleted", "Stop", "StopFailure", "TeammateIdle",
    "InstructionsLoaded", "ConfigChange", "CwdChanged", "DirectoryAdded", "FileChanged",
    "WorktreeCreate", "WorktreeRemove", "PreCompact", "PostCompact", "Elicitation",
    "ElicitationResult", "SessionEnd",
]  # fmt: skip


def test_every_event_is_registered_or_left_out_for_a_reason() -> None:
    known = [*registration.EVENTS, *registration.LEFT_OUT]
    assert sorted(known) == sorted(ALL_EVENTS)
    assert all({**registration.EVENTS, **registration.LEFT_OUT}.values())


def test_events_that_accept_no_http_get_a_command() -> None:
    kinds = {event: entry["type"] for event, entry in registration.entries("http", "s").items()}
    commands = {event for event, kind in kinds.items() if kind == "command"}
    assert commands == {"SessionStart", "Setup", "SessionEnd"}
    assert {entry["type"] for entry in registration.entries("command", "s").values()} == {"command"}


def test_the_client_waits_for_each_command_as_it_ends_those_that_still_run_at_its_exit() -> None:
    entries = registration.entries("command", "s")
    assert not [event for event, entry in entries.items() if entry.get("async")]
    assert all(0 < entry["timeout"] <= 10 for entry in entries.values())


@pytest.mark.usefixtures("home")
def test_an_http_hook_carries_the_secret_to_loopback() -> None:
    assert registration.http_entry("s3") == {
        "type": "http",
        "url": "http://127.0.0.1:7319/claude/hook",
        "headers": {"X-Orchwatch-Secret": "s3"},
        "timeout": 1,
    }


@pytest.mark.parametrize("name", ["orchwatch home", "größe'"])
def test_the_command_names_a_home_that_is_not_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / name))
    command = registration.command_entry("Stop")["command"]
    monkeypatch.delenv("ORCHWATCH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    body = b'{"hook_event_name": "Stop"}'
    subprocess.run(command, shell=True, input=body, check=True, timeout=60)
    assert (tmp_path / name / "spool" / "hooks-000001.jsonl").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_the_default_home_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ORCHWATCH_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = shlex.split(registration.command_entry("Stop")["command"])
    assert words[-4:] == [os.path.abspath(sys.executable), "-I", "-S", registration.HOOK_SCRIPT]


@pytest.mark.usefixtures("home")
def test_after_an_uninstallation_the_command_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter whose script is gone ends with 2, which blocks the agent."""
    script = tmp_path / "it's" / "orchwatch" / "agents" / "claude_code" / "hook.py"
    monkeypatch.setattr(registration, "HOOK_SCRIPT", str(script))
    entry = registration.command_entry("Stop")
    assert registration.is_own(entry)
    ended = subprocess.run(
        entry["command"], shell=True, input=b"{}", capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("value", "port", "lost_count"),
    [("", 7319, 0), ("8123", 8123, 0), ("0", 7319, 1), ("65536", 7319, 1), ("x", 7319, 1)],
)
@pytest.mark.usefixtures("home")
def test_the_port_can_be_set(
    monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[], dict[str, int]],
    value: str,
    port: int,
    lost_count: int,
) -> None:
    monkeypatch.setenv("ORCHWATCH_MONITOR_PORT", value)
    assert registration.hook_url() == f"http://127.0.0.1:{port}/claude/hook"
    assert lost().get("bad_setting", 0) == lost_count


def test_the_secret_is_made_once_and_for_the_user_only(home: Path) -> None:
    assert registration.read_secret() is None
    secret = registration.make_secret()
    assert len(secret) == 64
    assert registration.make_secret() == registration.read_secret() == secret
    assert stat.S_IMODE(os.stat(registration.secret_path()).st_mode) == 0o600
    assert [entry.name for entry in home.iterdir()] == ["hook-secret"]


@pytest.mark.usefixtures("home")
def test_all_who_make_the_secret_at_once_get_the_same(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    code = (
        "from orchwatch.agents.claude_code.settings import registration;"
        " input(); print(registration.make_secret())"
    )
    processes = [start_python(code) for _ in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    secrets = {process.communicate(timeout=60)[0] for process in processes}
    assert secrets == {f"{registration.read_secret()}\n"}


def test_a_secret_that_cannot_be_used_is_an_error(home: Path) -> None:
    home.mkdir()
    (home / "hook-secret").write_text("\n")
    with pytest.raises(secret_file.SecretError, match="is empty"):
        registration.make_secret()
    (home / "hook-secret").unlink()
    (home / "hook-secret").mkdir()
    with pytest.raises(secret_file.SecretError, match="cannot be read"):
        registration.make_secret()


@pytest.mark.parametrize(
    ("hook", "own"),
    [
        (registration.http_entry("s"), True),
        ({"type": "http", "url": "http://127.0.0.1:1/claude/hook"}, True),
        ({"type": "http", "url": "http://127.0.0.1:1/other"}, False),
        ({"type": "http", "url": "https://example.com/claude/hook"}, False),
        ({"type": "http", "url": 3}, False),
        (registration.command_entry("Stop"), True),
        (
            {
                "type": "command",
                "command": "/old/py -I -S /old/orchwatch/agents/claude_code/hook.py",
            },
            True,
        ),
        (
            {
                "command": "/p",
                "args": ["-I", "-S", "/x/orchwatch/agents/claude_code/hook.py", "/home"],
            },
            True,
        ),
        (
            {"type": "command", "command": "cat '/x/orchwatch/agents/claude_code/hook.py"},
            False,
        ),
        ({"type": "command", "command": "./hook.py"}, False),
        ({"type": "prompt"}, False),
        (None, False),
    ],
)
def test_our_own_hooks_are_recognised(hook: object, own: bool) -> None:
    assert registration.is_own(hook) is own
