from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.settings import hook_wrapping, registration
from orchwatch.agents.sessions import ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Named = Callable[[str], dict[str, Any]]

SHELL_COMMANDS = [
    "cat",
    'cat; echo "it\'s" >&2; exit 3',
    'read -r line; printf \'%s|%s\' "$line" "$HOME" | tr a-z A-Z',
    "exit 2",
    'cat > /dev/null; echo \'{"decision": "block"}\'',
    "no-such-command --token=abc",
    "echo 'größe' \"\\\\\" `echo sub` $((1 + 2)) # comment",
    "cat <<'END'\n'\"$x\nEND\n",
    "kill -TERM $$",
    "X=1 Y='a b' sh -c 'echo $X \"$Y\" $0'",
]


def run(hook: dict[str, Any], body: bytes = b'{"a": "\xc3\xa9"}\n') -> tuple[int, bytes, bytes]:
    command = hook["command"]
    ended = subprocess.run(
        [command, *hook["args"]] if "args" in hook else command,
        shell="args" not in hook,
        input=body,
        check=False,
        capture_output=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def wrapped(hook: dict[str, Any], event: str = "PreToolUse", matcher: object = None) -> Any:
    assert hook_wrapping.can_wrap(hook)
    hook_wrapping.write_launcher(*hook_wrapping.launcher(hook, event, matcher))
    return {**hook, **hook_wrapping.wrap(hook, event, matcher)}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_a_shell_command_does_what_it_did(command: str) -> None:
    hook = {"type": "command", "command": command, "timeout": 7}
    assert run(wrapped(hook)) == run(hook)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "hook",
    [
        {"command": "cat", "args": []},
        {"command": "sh", "args": ["-c", 'cat; echo "$@" >&2; exit 2', "--", "a b", "--", ""]},
        {"command": sys.executable, "args": ["-c", "import sys; print(sys.argv)", "--", "é\n"]},
    ],
)
def test_a_command_with_arguments_does_what_it_did(hook: dict[str, Any]) -> None:
    assert run(wrapped(hook)) == run(hook)


@pytest.mark.usefixtures("home")
def test_ten_megabytes_pass_through() -> None:
    body = os.urandom(10_000_000)
    assert run(wrapped({"command": "cat"}), body) == (0, body, b"")


@pytest.mark.usefixtures("home")
def test_the_shell_stays_the_one_that_reads_the_command() -> None:
    hook = {"command": "a=(1 2); echo ${a[1]}"}  # which only bash understands
    words = ["bash", "-c", wrapped(hook)["command"]]
    assert subprocess.run(words, check=True, capture_output=True, timeout=60).stdout == b"2\n"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_unwrapping_gives_the_command_back(command: str) -> None:
    for hook in ({"command": command}, {"command": command, "args": ["--", command, ""]}):
        around = wrapped(hook, matcher="--")
        assert hook_wrapping.is_wrapped(around)
        assert not hook_wrapping.can_wrap(around)
        assert {**around, **hook_wrapping.unwrap(around)} == hook


def test_its_time_is_an_operation_without_its_arguments(home: Path, named: Named) -> None:
    secret = "sk-secret"
    command = f"python3 -c pass {secret}; sleep 0"
    run(wrapped({"command": command}, "PreToolUse", "Bash"))
    span = named("hook.process")
    values = {key: next(iter(value.values())) for key, value in span["attributes"].items()}
    assert {
        "orchestration.hook.event_name": "PreToolUse",
        "orchestration.hook.matcher": "Bash",
        "orchestration.hook.name": "python3",
        "gen_ai.tool.name": "Bash",
        "process.exit.code": "0",
    }.items() <= values.items()
    for segment in (home / "spool").iterdir():
        assert secret not in segment.read_text()


@pytest.mark.parametrize(
    ("payload", "trace", "parent"),
    [
        ({"prompt_id": "p"}, "p", ids.turn("s", "p")),
        ({"prompt_id": "p", "tool_use_id": "t"}, "p", ids.tool("s", "t")),
        ({"prompt_id": "p", "agent_id": "a"}, "p", ids.agent_run("s", "a")),
        ({"prompt_id": "p", "agent_id": "a", "tool_use_id": "t"}, "p", ids.tool("s", "t")),
    ],
)
def test_it_stands_in_the_trace_of_its_turn(
    named: Named, payload: dict[str, str], trace: str, parent: str
) -> None:
    body = json.dumps({"session_id": "s", "hook_event_name": "Stop", **payload}).encode()
    assert run(wrapped({"command": "cat"}), body) == (0, body, b"")
    span = named("hook.process")
    assert (span["traceId"], span["parentSpanId"]) == (ids.trace_id("s", trace), parent)
    assert span["attributes"]["session.id"] == {"stringValue": "s"}


def test_one_outside_of_a_turn_has_a_trace_of_its_own(named: Named) -> None:
    run(wrapped({"command": "cat"}, "SessionStart"), b'{"session_id": "s"}')
    span = named("hook.process")
    assert not span.get("parentSpanId")
    assert span["attributes"]["session.id"] == {"stringValue": "s"}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[1]", b"\xff", b'{"session_id": 7}', b"[" * 99999]
)
def test_a_payload_that_says_nothing_reaches_the_hook_all_the_same(body: bytes) -> None:
    assert run(wrapped({"command": "cat"}), body) == (0, body, b"")


@pytest.mark.usefixtures("home")
def test_the_command_shows_little_more_than_the_one_it_wraps() -> None:
    path, _ = hook_wrapping.launcher({"command": "/opt/guard --all"}, "Stop", None)
    around = wrapped({"command": "/opt/guard --all"}, "Stop")
    started = f'test ! -x {path} || exec {path} "$@" ; exec "$@"'
    assert around["command"] == f"set -- \"$0\" -c '/opt/guard --all' ; {started}"
    assert path.endswith("/wrapped-hooks/Stop-guard")


@pytest.mark.parametrize("gone", ["home", "package"])
@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_the_hook_runs_alone_where_what_measures_it_is_gone(
    home: Path, monkeypatch: pytest.MonkeyPatch, command: str, gone: str
) -> None:
    if gone == "package":
        monkeypatch.setattr(hook_wrapping, "_SCRIPT_PATH", str(home / "orchwatch" / "gone.py"))
    hook = {"command": command}
    around = wrapped(hook)
    if gone == "home":
        shutil.rmtree(home)
    assert run(around) == run(hook)
    assert not (home / "spool").exists()


@pytest.mark.parametrize(
    ("event", "matcher", "tool"),
    [
        ("PreToolUse", "Bash", "Bash"),
        ("PostToolUse", "mcp__a__b", "mcp__a__b"),
        ("PreToolUse", "Edit|Write", None),
        ("PreToolUse", "*", None),
        ("PreToolUse", "", None),
        ("SessionStart", "startup", None),
    ],
)
def test_the_tool_is_named_where_the_matcher_is_one(
    event: str, matcher: str, tool: str | None
) -> None:
    _, content = hook_wrapping.launcher({"command": "x"}, event, matcher)
    words = shlex.split(content.decode().splitlines()[2])
    told = [word for word in words if word.startswith("gen_ai.tool.name=")]
    assert told == ([f"gen_ai.tool.name={tool}"] if tool else [])


@pytest.mark.usefixtures("home")
def test_a_signal_for_the_wrapper_reaches_the_hook() -> None:
    command = "trap 'echo stopped; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    hook = {"command": "sh", "args": ["-c", command]}
    around = wrapped(hook)
    with subprocess.Popen([around["command"], *around["args"]], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"stopped\n"
    assert process.returncode == 5


@pytest.mark.parametrize(
    "hook",
    [
        None,
        "command",
        {"type": "http", "url": "https://example.com"},
        {"type": "prompt", "prompt": "x"},
        {"type": "command"},
        {"type": "command", "command": " "},
        {"type": "command", "command": 7},
        {"type": "command", "command": "x", "args": "y"},
        {"type": "command", "command": "x", "args": [1]},
        {"type": "command", "command": "x", "shell": "powershell"},
        registration.command_entry("Stop"),
    ],
)
def test_hooks_that_cannot_be_wrapped_stay(hook: object) -> None:
    assert not hook_wrapping.can_wrap(hook)
