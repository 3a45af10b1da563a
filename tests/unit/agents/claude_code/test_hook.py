from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code import hook_line
from orchwatch.agents.claude_code.settings import registration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]

HOOK = [sys.executable, "-I", "-S", registration.HOOK_SCRIPT]
ALL_EVENTS = sorted({**registration.EVENTS, **registration.LEFT_OUT})

CONTENT = "the-content"
COMMON = {
    "session_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "prompt_id": "p-1",
    "transcript_path": f"/home/{CONTENT}/x.jsonl",
    "cwd": f"/home/{CONTENT}/größe",
    "permission_mode": "default",
    "effort": {"level": "high", "why": CONTENT},
}


def payload(event: str, **fields: object) -> bytes:
    return json.dumps({**COMMON, "hook_event_name": event, **fields}).encode()


def hook(body: bytes, *words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*HOOK, *words],
        input=body,
        check=False,
        capture_output=True,
        timeout=60,
        env={**os.environ, **environ},
    )


def silent(ended: subprocess.CompletedProcess[bytes]) -> bool:
    return (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@pytest.mark.parametrize("event", ALL_EVENTS)
def test_an_event_is_one_line_without_content(home: Path, lines: Lines, event: str) -> None:
    before_ns = time.time_ns()
    body = payload(
        event,
        tool_name="Bash",
        tool_use_id="toolu_1",
        tool_input={"command": CONTENT, "subagent_type": CONTENT},
        tool_response={"stdout": CONTENT, "status": CONTENT},
        duration_ms=12.5,
        is_interrupt=False,
        prompt=CONTENT,
        error=f"Exit code 1: {CONTENT}",
        reason=f"because of {CONTENT}",
        last_assistant_message=CONTENT,
        message=CONTENT,
        task_subject=CONTENT,
        compact_summary=CONTENT,
        unknown=CONTENT,
    )
    assert silent(hook(body))
    (header, line), unreadable = lines("hooks")
    assert (list(header), unreadable) == (["orchwatch"], 0)
    assert before_ns < line["received_ns"] < time.time_ns()
    assert line["project"] == "größe"
    digest = line["payload"].pop("tool_input_digest", None)
    assert (digest is not None) == (event in hook_line.WAITING)
    assert line["payload"] == {
        "hook_event_name": event,
        "session_id": COMMON["session_id"],
        "prompt_id": "p-1",
        "permission_mode": "default",
        "tool_name": "Bash",
        "tool_use_id": "toolu_1",
        "duration_ms": 12.5,
        "is_interrupt": False,
        "effort": {"level": "high"},
    }
    assert line["sizes"]["payload"] == len(body)
    assert line["sizes"]["prompt"] == len(CONTENT)
    (segment,) = (home / "spool").iterdir()
    assert CONTENT not in segment.read_text()


def test_what_joins_a_sub_agent_with_its_call_is_kept() -> None:
    body = payload(
        "PostToolUse",
        tool_name="Agent",
        tool_input={"subagent_type": "Explore", "prompt": CONTENT, "description": CONTENT},
        tool_response={"status": "async_launched", "agentId": "a1", "content": [CONTENT]},
    )
    line = hook_line.encode(body, 1)
    assert CONTENT not in line
    parsed = json.loads(line)["payload"]
    assert parsed["tool_input"] == {"subagent_type": "Explore"}
    assert parsed["tool_response"] == {"status": "async_launched", "agentId": "a1"}


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("SessionEnd", {"reason": "prompt_input_exit"}),
        ("StopFailure", {"error": "rate_limit"}),
        ("SessionStart", {"source": "startup", "model": "claude-opus-4-6[1m]"}),
        ("PreCompact", {"trigger": "auto"}),
        ("TaskCreated", {"task_id": "7", "teammate_name": "Zoë"}),
    ],
)
def test_words_and_names_are_kept(event: str, fields: dict[str, str]) -> None:
    parsed = json.loads(hook_line.encode(payload(event, **fields), 1))["payload"]
    assert fields.items() <= parsed.items()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"hook_event_name": 3}',
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"hook_event_name": "Stop"} {}',
    ],
)
def test_what_is_no_payload_is_counted(
    home: Path, lost: Callable[[], dict[str, int]], body: bytes
) -> None:
    assert silent(hook(body))
    assert lost() == {"bad_hook_payload": 1}
    assert not (home / "spool").exists()


def test_ten_megabytes_are_one_short_line(home: Path, lines: Lines) -> None:
    body = payload("PostToolUse", tool_name="Read", tool_response="é" * 10_000_000)
    assert silent(hook(body))
    assert lines("hooks")[0][1]["sizes"]["payload"] == len(body)
    assert (home / "spool" / "hooks-000001.jsonl").stat().st_size < 1000


@pytest.mark.usefixtures("home")
def test_a_hook_without_standard_streams_records_nothing_and_says_nothing(
    lost: Callable[[], dict[str, int]],
) -> None:
    closed = f"exec {shlex.join(HOOK)} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", closed], check=False, timeout=60).returncode == 0
    assert lost() == {"bad_hook_payload": 1}


def test_a_closed_pipe_does_not_matter(lines: Lines) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as broken:
        ended = subprocess.run(
            HOOK, input=payload("Stop"), check=False, stdout=broken, stderr=broken, timeout=60
        )
    assert ended.returncode == 0
    assert len(lines("hooks")[0]) == 2


def test_where_nothing_can_be_written_the_loss_is_counted_elsewhere(
    tmp_path: Path, lost: Callable[[], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file" / "home"))  # not even root can
    assert silent(hook(payload("Stop")))
    assert lost() == {"spool_unwritable": 1}


def test_a_package_that_cannot_be_imported_says_nothing(tmp_path: Path) -> None:
    alone = tmp_path / "orchwatch" / "claude" / "hook.py"
    alone.parent.mkdir(parents=True)
    with open(registration.HOOK_SCRIPT) as script:
        alone.write_text(script.read())
    assert silent(
        subprocess.run(
            [*HOOK[:-1], str(alone)], input=b"{}", check=False, capture_output=True, timeout=60
        )
    )


def test_the_installed_home_holds_where_the_environment_names_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    assert silent(hook(payload("Stop"), str(installed)))
    assert (home / "spool").exists()
    assert not installed.exists()
    monkeypatch.delenv("ORCHWATCH_HOME")
    assert silent(hook(payload("Stop"), str(installed)))
    assert (installed / "spool" / "hooks-000001.jsonl").exists()


def test_forty_at_twenty_at_once_lose_nothing(lines: Lines) -> None:
    def run(number: int) -> bool:
        return silent(hook(payload("PreToolUse", tool_name="Bash", tool_use_id=f"t{number}")))

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(run, range(40)))
    parsed, unreadable = lines("hooks")
    assert not unreadable
    recorded = [line["payload"]["tool_use_id"] for line in parsed if "payload" in line]
    assert sorted(recorded) == sorted(f"t{number}" for number in range(40))


@pytest.mark.usefixtures("home")
def test_it_loads_only_a_handful_of_modules_beside_os(run_python: Callable[..., str]) -> None:
    code = """
        import atexit, os
        os._exit = lambda code: print(*sys.modules)
        from orchwatch.agents.claude_code import hook
        hook.main()
    """
    loaded = set(run_python(code, flags=("-I", "-S")).split())
    bare = set(run_python("import os; print(*sys.modules)", flags=("-I", "-S")).split())
    assert {name for name in loaded - bare if not name.startswith("orchwatch")} <= {
        "__future__",
        "_contextvars",
        "_json",
        "atexit",
        "errno",
        "fcntl",
        "math",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here")
def test_the_start_of_a_session_says_when_its_process_was_started(lines: Lines) -> None:
    before_s = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as client:
        after_s = time.time()
        for event in ("SessionStart", "Stop"):
            assert silent(hook(payload(event, source="startup"), CLAUDE_PID=str(client.pid)))
        client.communicate(b"\n")
    parsed, _ = lines("hooks")
    began, other = (line for line in parsed if "payload" in line)
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert before_s - 2 * tick_s < began["started_ns"] / 1e9 < after_s + 2 * tick_s
    assert "started_ns" not in other


@pytest.mark.parametrize("pid", ["", "0", "-1", "x", "²", "999999999", "1/../self"])
def test_a_process_that_is_none_costs_the_event_nothing(lines: Lines, pid: str) -> None:
    assert silent(hook(payload("SessionStart", source="startup"), CLAUDE_PID=pid))
    parsed, _ = lines("hooks")
    (began,) = [line for line in parsed if "payload" in line]
    assert "started_ns" not in began
