from __future__ import annotations

import argparse
import json
import os
import re
import signal
import stat
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.agents.claude_code.settings.settings_file import SettingsError
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

OTHERS = """{
  "model": "opus",
  "hooks": {
    "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "cat; exit 2"}]}]
  },
  "größe": [1.0e2]
}
"""
# What a text editor, another tool or a person leaves behind.
WILD = {
    "empty": b"",
    "blank": b" \n",
    "empty object": b"{}",
    "with other hooks": OTHERS.encode(),
    "with CRLF": OTHERS.replace("\n", "\r\n").encode(),
    "with tabs": OTHERS.replace("  ", "\t").encode(),
    "with a byte order mark": b"\xef\xbb\xbf" + OTHERS.encode(),
    "without a last newline": OTHERS.strip().encode(),
    "huge": json.dumps({"permissions": {"allow": ["x" * 30] * 30_000}}, indent=1).encode(),
}
UNUSABLE = {
    "with comments": (b'{\n  // mine\n  "model": "opus"\n}', "is not valid JSON"),
    "broken": (b'{"hooks": {', "is not valid JSON"),
    "a list": (b"[]", "must hold a JSON object"),
    "hooks of another shape": (b'{"hooks": {"Stop": 3}}', "hooks.Stop: must be an array"),
    "not UTF-8": (b'{"a": "\xe9"}', "is not UTF-8"),
}

COMMAND = """
    import sys
    from argparse import ArgumentParser
    from orchwatch.cli.commands import claude_install
    parser = ArgumentParser()
    claude_install.add_arguments(parser)
    print("ready", flush=True)
    sys.stdin.readline()
    claude_install.run(parser.parse_args(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def project(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A project to work in, and a configuration directory that is nobody's."""
    path = tmp_path / "project"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "config"))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The user's settings file, which does not exist yet."""
    path = tmp_path / "config" / "settings.json"
    path.parent.mkdir()
    return path


def orchwatch(name: str, *words: str) -> int:
    module = import_module(f"orchwatch.cli.commands.claude_{name}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def hooks(path: Path) -> list[dict[str, Any]]:
    groups = json.loads(path.read_bytes().decode("utf-8-sig"))["hooks"].values()
    return [hook for event in groups for group in event for hook in group["hooks"]]


@pytest.mark.parametrize("content", WILD.values(), ids=WILD)
@pytest.mark.parametrize("words", [(), ("--hooks", "command", "--wrap", "--telemetry")])
def test_uninstalling_gives_the_file_back_to_the_byte(
    settings: Path, content: bytes, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_bytes(content)
    settings.chmod(0o640)
    assert orchwatch("install", *words) == 0
    installed = settings.read_bytes()
    assert sum(map(registration.is_own, hooks(settings))) == len(registration.EVENTS)
    assert stat.S_IMODE(settings.stat().st_mode) == (0o640 if words else 0o600)
    capsys.readouterr()
    assert orchwatch("install", *words) == 0
    assert (settings.read_bytes(), "nothing to change" in capsys.readouterr().out) == (
        installed,
        True,
    )
    assert orchwatch("uninstall") == 0
    assert settings.read_bytes() == content
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert list(files(settings.parent)) == ["settings.json"]
    assert capsys.readouterr().out == f"{settings}: as it was before, to the byte\n"
    assert orchwatch("uninstall") == 0
    assert "holds nothing of orchwatch" in capsys.readouterr().out


@pytest.mark.parametrize("scope", ["--user", "--project", "--local"])
def test_a_file_that_did_not_exist_goes_again(
    scope: str, project: Path, tmp_path: Path, home: Path
) -> None:
    path = {
        "--user": tmp_path / "config" / "settings.json",
        "--project": project / ".claude" / "settings.json",
        "--local": project / ".claude" / "settings.local.json",
    }[scope]
    orchwatch("install", scope)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    holds_secret = (registration.read_secret() or "no secret") in path.read_text()
    assert holds_secret is (scope != "--project")
    orchwatch("uninstall", scope)
    assert not path.exists()
    assert files(home).keys() == ({"hook-secret"} if holds_secret else set())


def test_others_may_not_read_a_file_while_the_secret_is_in_it(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "dotfiles" / "settings.json"
    target.parent.mkdir()
    target.write_text(OTHERS)
    target.chmod(0o644)
    settings.symlink_to(target)
    orchwatch("install")
    assert "only you can read it now" in capsys.readouterr().out
    assert (settings.is_symlink(), stat.S_IMODE(target.stat().st_mode)) == (True, 0o600)
    target.chmod(0o666)  # by hand, say: installing again mends it, although nothing else changes
    orchwatch("install")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.write_text(target.read_text().replace("opus", "sonnet"))
    orchwatch("uninstall")
    assert (settings.is_symlink(), stat.S_IMODE(target.stat().st_mode)) == (True, 0o644)
    assert target.read_text() == OTHERS.replace("opus", "sonnet")


def test_a_file_that_others_get_holds_no_secret(
    project: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orchwatch("install", "--project")
    assert {hook["type"] for hook in hooks(project / ".claude" / "settings.json")} == {"command"}
    assert not (home / "hook-secret").exists()
    with pytest.raises(UsageError, match="--project --hooks http would put a secret"):
        orchwatch("install", "--project", "--hooks", "http")
    capsys.readouterr()


def _git(directory: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=directory, check=True, capture_output=True, timeout=60)


def test_a_secret_gets_into_no_repository(project: Path, home: Path) -> None:
    _git(project, "init")
    local = project / ".claude" / "settings.local.json"
    with pytest.raises(SettingsError, match=r"settings\.local\.json: git does not ignore it"):
        orchwatch("install", "--local")
    assert not local.parent.exists()
    (project / ".gitignore").write_text("/.claude/settings.local.json\n")
    orchwatch("install", "--local")
    assert (registration.read_secret() or "no secret") in local.read_text()
    _git(project, "add", "--force", str(local))
    with pytest.raises(SettingsError, match="git tracks it, and the secret"):
        orchwatch("install", "--local")
    orchwatch("install", "--local", "--hooks", "command")
    assert (registration.read_secret() or "no secret") not in local.read_text()
    assert home.exists()


def test_the_users_own_settings_may_lie_in_a_repository_too(settings: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "settings.json"
    target.parent.mkdir()
    target.write_text(OTHERS)
    _git(target.parent, "init")
    _git(target.parent, "add", ".")
    settings.symlink_to(target)
    with pytest.raises(SettingsError, match="git tracks it"):
        orchwatch("install")
    assert target.read_text() == OTHERS


def test_looking_at_a_repository_runs_nothing_of_its(project: Path, tmp_path: Path) -> None:
    _git(project, "init")
    touched = tmp_path / "touched"
    monitor = tmp_path / "fsmonitor"
    monitor.write_text(f"#!/bin/sh\ntouch {touched}\n")
    monitor.chmod(0o755)
    _git(project, "config", "core.fsmonitor", str(monitor))
    with pytest.raises(SettingsError, match="git does not ignore it"):
        orchwatch("install", "--local")
    assert not touched.exists()


def test_without_a_configured_directory_it_is_the_one_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAUDE_CONFIG_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    orchwatch("install")
    assert (tmp_path / "me" / ".claude" / "settings.json").exists()


def test_a_backup_is_kept_while_it_is_installed(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text(OTHERS)
    orchwatch("install")
    said = capsys.readouterr().out
    backup = re.search(r"as it was before: (.+)", said)
    assert backup is not None
    with open(backup[1]) as file:
        assert file.read() == OTHERS
    assert stat.S_IMODE(os.stat(backup[1]).st_mode) == 0o600


def test_a_dry_run_shows_the_change_and_makes_none(
    settings: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text(OTHERS)
    orchwatch("install", "--dry-run", "--wrap")
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith(f"{settings}: 16 http hooks registered")
    assert told.endswith("this is what would change; nothing did")
    orchwatch("install", "--dry-run", "--diff", "--wrap")
    shown = capsys.readouterr().out
    assert f"--- {settings}\n" in shown
    assert '+            "url": "http://127.0.0.1:7319/claude/hook",\n' in shown
    assert (settings.read_text(), home.exists()) == (OTHERS, False)
    orchwatch("install", "--diff", "--wrap")
    said = capsys.readouterr().out
    assert said.startswith(shown.partition(told)[0])
    assert (registration.read_secret() or "") not in said


def test_after_other_changes_only_what_is_ours_goes(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text(OTHERS)
    orchwatch("install", "--wrap", "--telemetry")
    settings.write_text(settings.read_text().replace("opus", "sonnet"))
    capsys.readouterr()
    orchwatch("install", "--wrap", "--telemetry")
    assert "nothing to change" in capsys.readouterr().out
    orchwatch("uninstall")
    assert settings.read_text() == OTHERS.replace("opus", "sonnet")
    assert "19 hooks removed, 1 unwrapped, 7 variables removed" in capsys.readouterr().out


def test_other_options_replace_the_ones_before(settings: Path) -> None:
    settings.write_text(OTHERS)
    orchwatch("install", "--wrap", "--telemetry")
    orchwatch("install", "--hooks", "command")
    assert {hook["type"] for hook in hooks(settings)} == {"command"}
    assert "env" not in json.loads(settings.read_text())
    assert hooks(settings)[0]["command"] == "cat; exit 2"
    orchwatch("uninstall")
    assert settings.read_text() == OTHERS


def test_without_its_record_it_still_goes(settings: Path, home: Path) -> None:
    settings.write_text(OTHERS)
    orchwatch("install", "--wrap")
    for path in (home / "claude").rglob("*.json"):
        path.write_text("{")
    orchwatch("uninstall")
    assert settings.read_text() == OTHERS


@pytest.mark.parametrize(("content", "complaint"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_an_unusable_file_is_named_and_nothing_is_changed(
    settings: Path, home: Path, command: str, content: bytes, complaint: str
) -> None:
    settings.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(f"{settings}: {complaint}")) as raised:
        orchwatch(command)
    assert "\n" not in str(raised.value)
    assert files(settings.parent) == {"settings.json": content}
    assert not home.exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_read_only_file_stays_as_it_is(settings: Path, home: Path, command: str) -> None:
    settings.write_text(OTHERS)
    settings.chmod(0o444)
    with pytest.raises(SettingsError, match="is read-only; nothing was changed"):
        orchwatch(command)
    assert (settings.read_text(), home.exists()) == (OTHERS, False)


def test_what_is_no_file_is_named(settings: Path) -> None:
    settings.mkdir()
    with pytest.raises(SettingsError, match="is not a file"):
        orchwatch("install")
    settings.rmdir()
    os.mkfifo(settings)
    with pytest.raises(SettingsError, match="is not a file"):
        orchwatch("install")
    settings.unlink()
    settings.symlink_to(settings)
    with pytest.raises(SettingsError, match="cannot be read"):
        orchwatch("install")


def test_a_directory_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "file" / "config"))
    with pytest.raises(SettingsError, match=r"cannot be (read|written)"):
        orchwatch("install")


@pytest.mark.parametrize("kind", ["http", "command"])
def test_a_home_that_cannot_be_written_changes_nothing(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings.write_text(OTHERS)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file"))
    with pytest.raises(OrchwatchError, match=r"cannot be (read|written)"):
        orchwatch("install", "--hooks", kind)
    assert files(settings.parent) == {"settings.json": OTHERS.encode()}


def test_links_stay_links(settings: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text(OTHERS)
    settings.symlink_to("../dotfiles/claude.json")
    orchwatch("install")
    assert settings.is_symlink()
    assert len(hooks(real)) == 1 + len(registration.EVENTS)
    orchwatch("uninstall")
    assert (settings.is_symlink(), real.read_text()) == (True, OTHERS)
    real.unlink()
    orchwatch("install")
    assert (settings.is_symlink(), real.exists()) == (True, True)


def test_two_at_once_install_once(settings: Path, start_python: Start) -> None:
    settings.write_text(OTHERS)
    processes = [start_python(COMMAND, "--wrap", "--telemetry") for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    assert len(hooks(settings)) == 1 + len(registration.EVENTS)
    orchwatch("uninstall")
    assert files(settings.parent) == {"settings.json": OTHERS.encode()}


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_at_any_step_loses_nothing(
    settings: Path, start_python: Start, step: str, number: int
) -> None:
    settings.write_text(OTHERS)
    stop = f"""
    import os, time
    steps = []
    real = {step}
    def stopping(*arguments):
        steps.append(arguments)
        if len(steps) == {number}:
            print("here", flush=True)
            time.sleep(60)
        return real(*arguments)
    {step} = stopping
    """
    process = start_python(stop + COMMAND, "--wrap")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    while process.stdout.readline() != "here\n":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert settings.read_text() == OTHERS
    orchwatch("uninstall")
    assert settings.read_text() == OTHERS
    orchwatch("install", "--wrap")
    orchwatch("uninstall")
    assert files(settings.parent) == {"settings.json": OTHERS.encode()}


def test_a_variable_that_you_have_set_stays_and_is_named(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text('{"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere:4318"}}')
    orchwatch("install", "--telemetry")
    env = json.loads(settings.read_text())["env"]
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://elsewhere:4318"
    assert env["CLAUDE_CODE_ENABLE_TELEMETRY"] == "1"
    note = "note: kept as you have set it: OTEL_EXPORTER_OTLP_ENDPOINT\n"
    assert note in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words", "note"),
    [
        ({"disableAllHooks": True}, (), "disableAllHooks is set here"),
        ({"allowedHttpHookUrls": []}, (), "allowedHttpHookUrls does not allow"),
        ({"allowedHttpHookUrls": ["http://127.0.0.1:7319/*"]}, (), None),
        ({"allowedHttpHookUrls": []}, ("--hooks", "command"), None),
        ({}, (), None),
    ],
)
def test_what_keeps_it_from_working_is_said(
    settings: Path,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    words: tuple[str, ...],
    note: str | None,
) -> None:
    settings.write_text(json.dumps(content))
    orchwatch("install", *words)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == (note is not None)
    assert all(str(note) in line for line in notes)


def test_settings_in_a_repository_come_with_a_warning(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".git").mkdir()
    orchwatch("install", "--project")
    assert "do not commit it" in capsys.readouterr().out
    orchwatch("install", "--local")
    assert "do not commit it" not in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("", True), ("n", False)])
def test_a_person_is_asked_first(settings: Path, home: Path, answer: str, written: bool) -> None:
    master, slave = os.openpty()
    program = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.dirname(registration.__file__))!r} + "/..")
from argparse import ArgumentParser
from orchwatch.cli.commands import claude_install
parser = ArgumentParser()
claude_install.add_arguments(parser)
claude_install.run(parser.parse_args([]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=slave,
        stdout=slave,
        env={**os.environ, "ORCHWATCH_HOME": str(home)},
    )
    os.close(slave)
    try:
        seen = b""
        while b"[Y/n]" not in seen:
            seen += os.read(master, 65536)
        os.write(master, answer.encode() + b"\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert settings.exists() is written


def test_the_command_says_one_line_and_fails_where_it_cannot(settings: Path, home: Path) -> None:
    settings.write_text('{\n  "model": "opus", // mine\n}')
    words = [sys.executable, "-m", "orchwatch.cli", "claude", "install"]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"orchwatch: {settings}: is not valid JSON: ")
    assert ended.stderr.endswith("line 2 column 20 (char 21); nothing was changed\n")
    assert not home.exists()


def test_what_is_installed_records_events_as_claude_code_runs_it(
    settings: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text(OTHERS)
    words = [sys.executable, "-m", "orchwatch.cli", "claude", "install", "--wrap"]
    subprocess.run([*words, "--hooks", "command"], check=True, capture_output=True, timeout=60)
    monkeypatch.delenv("ORCHWATCH_HOME")  # which a session need not have
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "elsewhere"))
    body = b'{"hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash"}'
    other, own = [
        hook["command"]
        for group in json.loads(settings.read_text())["hooks"]["PreToolUse"]
        for hook in group["hooks"]
    ]
    ended = subprocess.run(
        other, shell=True, input=body, check=False, capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, body, b"")
    ended = subprocess.run(
        own, shell=True, input=body, check=False, capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    (line,) = (home / "spool" / "hooks-000001.jsonl").read_text().splitlines()[1:]
    assert json.loads(line)["payload"] == json.loads(body)
    assert '"hook.process"' in (home / "spool" / "operations-000001.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "traces"), [((), False), (("metrics",), False), (("traces",), True)]
)
def test_its_traces_are_asked_for_by_name(
    settings: Path, words: tuple[str, ...], *, traces: bool
) -> None:
    assert orchwatch("install", "--telemetry", *words) == 0
    asked = json.loads(settings.read_text())["env"]
    assert asked["OTEL_METRICS_EXPORTER"] == "otlp"
    assert asked.get("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA") == ("1" if traces else None)
