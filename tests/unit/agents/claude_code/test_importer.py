from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.agents.claude_code.conftest import Recording

    from orchwatch.agents.importer import Summary

    History = Callable[[], list[dict[str, Any]]]
    Import = Callable[..., Summary]

DATA = Path(__file__).parents[3] / "data" / "claude"
SHARED = Path(__file__).parents[5] / "shared" / "data" / "transcripts"
pytestmark = pytest.mark.usefixtures("home")

TOOL = "gen_ai.tool.name"
CALL = "gen_ai.tool.call.id"
OPERATION = "orchestration.operation.name"


@pytest.fixture(params=[DATA, SHARED], ids=["some lines", "whole sessions"])
def recorded(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    if not path.is_dir():
        pytest.skip("the whole sessions are not here")
    return path


def count_plainly(directory: Path) -> dict[str, Counter[tuple[str, bool]]]:
    """By session: how often each tool was called, and whether it failed."""
    names: dict[str, dict[str, str]] = {}
    failed = set()
    for path in directory.rglob("*.jsonl"):
        parts = path.relative_to(directory).parts
        session = path.stem if "subagents" not in parts else parts[parts.index("subagents") - 1]
        for line in path.read_text().splitlines():
            content = json.loads(line).get("message", {}).get("content")
            for block in content if isinstance(content, list) else []:
                if block["type"] == "tool_use":
                    names.setdefault(session, {})[block["id"]] = block["name"]
                if block["type"] == "tool_result" and block.get("is_error"):
                    failed.add(block["tool_use_id"])
    return {
        session: Counter((name, tool_id in failed) for tool_id, name in calls.items())
        for session, calls in names.items()
    }


def test_each_session_has_exactly_the_calls_and_failures_that_a_plain_count_gives(
    recorded: Path, run_import: Import, history: History
) -> None:
    summary = run_import(recorded)
    counted: dict[str, Counter[tuple[str, bool]]] = {}
    for span in history():
        attributes = span["attributes"]
        if TOOL in attributes:
            session = counted.setdefault(attributes["session.id"], Counter())
            session[attributes[TOOL], span["status"]["code"] == 2] += 1
    expected = count_plainly(recorded)
    assert counted == expected
    total = sum(expected.values(), Counter())
    assert summary.tools.total() == total.total()
    assert summary.failed.total() == sum(n for (_, failed), n in total.items() if failed)


def test_each_sub_agent_lies_under_the_call_that_started_it(
    recorded: Path, run_import: Import, history: History
) -> None:
    run_import(recorded)
    spans = {span["spanId"]: span for span in history()}
    started = {}
    for path in recorded.rglob("*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            outcome = line.get("toolUseResult")
            if isinstance(outcome, dict) and "agentId" in outcome:
                started[outcome["agentId"]] = line["message"]["content"][0]["tool_use_id"]
    runs = [s for s in spans.values() if s["attributes"].get(OPERATION) == "agent.run"]
    under = {
        run["attributes"]["gen_ai.agent.id"]: spans[run["parentSpanId"]]["attributes"].get(CALL)
        for run in runs
    }
    assert started
    assert {agent: call for agent, call in under.items() if call} == started


def test_tokens_add_up_to_those_of_each_message_counted_once(
    recorded: Path, run_import: Import, history: History
) -> None:
    run_import(recorded)
    messages: dict[str, int] = {}
    for path in recorded.rglob("*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            message = line.get("message", {})
            if line["type"] == "assistant" and "usage" in message:
                told = message["usage"]["output_tokens"]
                messages[message["id"]] = max(messages.get(message["id"], 0), told)
    spans = [span["attributes"] for span in history()]
    assert sum(span.get("orchestration.api.requests", 0) for span in spans) == len(messages)
    output = sum(span.get("gen_ai.usage.output_tokens", 0) for span in spans)
    assert output == sum(messages.values()) > 0


def test_every_span_hangs_under_one_of_its_own_trace_and_none_is_negative(
    recorded: Path, run_import: Import, history: History
) -> None:
    run_import(recorded)
    spans = history()
    traces = {(span["traceId"], span["spanId"]) for span in spans}
    assert len(traces) == len(spans)
    for span in spans:
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        parent = span.get("parentSpanId")
        assert not parent or (span["traceId"], parent) in traces


def test_a_second_import_adds_nothing_not_even_from_a_copy(
    recorded: Path, tmp_path: Path, run_import: Import, history: History
) -> None:
    first = run_import(recorded)
    before = history()
    subprocess.run(["cp", "-r", recorded, tmp_path / "copy"], check=True)
    for again in (run_import(recorded), run_import(tmp_path / "copy")):
        assert again.spans == again.sessions == 0
        assert again.unchanged == first.sessions
    assert history() == before


def test_a_running_session_imported_again_and_again_gives_the_same_spans_as_at_once(  # noqa: PLR0917
    session: Recording,
    agent: Callable[[str], Recording],
    tmp_path: Path,
    run_import: Import,
    history: History,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = agent("a1")
    # Recent enough for nothing to be given up between two imports.
    session.start_s = inner.start_s = time.time() - 90
    inner.prompt(6, "look")
    inner.call(7, "t3", "Read")
    inner.result(8, "t3")
    inner.say(9)
    for turn in range(4):
        session.prompt(turn * 20)
        session.call(turn * 20 + 1, f"t{turn}-1")
        session.result(turn * 20 + 2, f"t{turn}-1", is_error=turn == 2)
        if turn == 0:
            session.call(5, "t2", "Task", subagent_type="Explore", prompt="look")
            session.result(10, "t2", agentId="a1", status="completed")
        session.say(turn * 20 + 11)
        session.system(turn * 20 + 12, "turn_duration", durationMs=12_000)
    stays_running(session.path)
    run_import(session.path)
    whole = as_set(history())
    assert len(whole) > 10
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "home2"))
    content = session.path.read_bytes()
    for size in (*sorted(random.Random(5).sample(range(len(content)), 12)), len(content)):
        session.path.write_bytes(content[:size])
        stays_running(session.path)
        run_import(session.path)
    spans = [
        span
        for path in sorted((tmp_path / "home2" / "spool").glob("history-*"))
        for line in map(json.loads, path.read_text().splitlines())
        for resource in line["resourceSpans"]
        for span in resource["scopeSpans"][0]["spans"]
    ]
    assert len(spans) == len(whole)
    assert as_set(spans) == whole


def stays_running(path: Path) -> None:
    """Has a file be as one that was just written to, however long an import of it takes."""
    later_s = time.time() + 3600
    os.utime(path, (later_s, later_s))


def as_set(spans: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    return {
        (
            span["traceId"],
            span["spanId"],
            span.get("parentSpanId", ""),
            span["startTimeUnixNano"],
            span["endTimeUnixNano"],
        )
        for span in spans
    }


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Some megabytes of the recorded session, over and over, each time with other ids."""
    (source,) = (path for path in DATA.rglob("*.jsonl") if "subagents" not in path.parts)
    text = source.read_text()
    path = tmp_path / "big" / source.name
    path.parent.mkdir()
    with path.open("w") as file:
        for number in range(40):
            copy = re.sub(r"(toolu|msg)_01", rf"\1_{number:03}", text)
            copy = re.sub(r'"uuid":"....', f'"uuid":"{number:04}', copy)
            copy = re.sub(r"2026-02-11", f"2026-0{1 + number // 20}-{1 + number % 20:02}", copy)
            file.write(copy)
    return path


def start_import(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", "claude", "import", path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_imports_that_are_killed_lose_nothing_and_repeat_nothing(
    big: Path,
    tmp_path: Path,
    run_import: Import,
    history: History,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "100000")
    kills = 0
    for wait_ms in range(60, 400, 17):
        process = start_import(big)
        time.sleep(wait_ms / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills
    run_import(big)
    survived = history()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "undisturbed"))
    undisturbed = run_import(big)
    assert len(survived) == len(as_set(survived)) == undisturbed.spans


def test_a_span_that_had_arrived_when_its_import_was_killed_is_not_written_again(
    run_import: Import, history: History, home: Path
) -> None:
    import sqlite3  # noqa: PLC0415 - to play the moment between two writes

    run_import(DATA)
    before = history()
    (segment,) = (home / "spool").glob("history-*")
    header, first, *rest = segment.read_bytes().splitlines(keepends=True)
    with closing(sqlite3.connect(home / "claude-import.sqlite")) as record, record:
        record.execute(
            "INSERT INTO pending VALUES (1, ?, ?)", [len(header), first + b"".join(rest)]
        )
    segment.write_bytes(header + first + rest[0][:100])  # killed in the middle of its write
    os.truncate(segment, len(header + first) + 100)
    run_import(DATA)
    assert as_set(history()) == as_set(before)
    assert len(history()) == len(before)


def test_imports_at_the_same_time_add_each_span_once(big: Path, history: History) -> None:
    processes = [start_import(big) for _ in range(3)]
    for process in processes:
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0, complaints
    spans = history()
    assert len(spans) == len(as_set(spans)) > 1000


def test_memory_does_not_grow_with_the_file(big: Path, tmp_path: Path) -> None:
    def peak_kib(path: Path) -> int:
        code = (
            "import resource, sys; from orchwatch.cli.main import main;"
            "main(['claude', 'import', sys.argv[1], '--format', 'json']);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, check=True, text=True
        )
        return int(done.stderr)

    content = big.read_bytes()
    small = tmp_path / "small" / "11111111-2222-4333-8444-555555555555.jsonl"
    small.parent.mkdir()
    small.write_bytes(content[: len(content) // 10])
    assert peak_kib(big) < peak_kib(small) + 8_000


def test_no_text_of_the_conversation_leaves_the_file(
    session: Recording,
    agent: Callable[[str], Recording],
    projects: Path,
    home: Path,
    run_import: Import,
) -> None:
    secret = "sk-ant-SECRET"
    session.common = {"cwd": f"/{secret}", "gitBranch": secret, "slug": secret}
    session.prompt(0, secret)
    session.write(
        1,
        type="progress",
        toolUseID="t1",
        data={
            "type": "hook_progress",
            "hookEvent": "PreToolUse",
            "hookName": "PreToolUse:Bash",
            "command": secret,
        },
    )
    session.call(1, "t1", command=secret, path=f"/home/{secret}")
    session.result(2, "t1", is_error=True, stdout=secret, stderr=secret)
    session.call(3, "t2", "Task", prompt=secret, description=secret, subagent_type="Explore")
    inner = agent("a1")
    inner.prompt(3.5, secret)
    inner.say(4, secret)
    session.result(5, "t2", agentId="a1", status="completed", content=secret)
    session.system(6, "api_error", error={"message": secret, "status": 529}, retryAttempt=1)
    session.system(6, "compact_boundary", content=secret, compactMetadata={"trigger": secret})
    session.say(7, secret, isApiErrorMessage=True, error=f"{secret} with words")
    session.write(8, type=f"{secret} kind")
    assert run_import(projects).spans > 5
    for path in [*home.rglob("*"), home / "losses"]:
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_a_half_written_last_line_is_left_for_later(
    session: Recording, projects: Path, run_import: Import
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.result(2, "t1")
    whole = session.path.read_text()
    session.call(3, "t2")
    more = session.path.read_text()[len(whole) :]
    session.path.write_text(whole + more[:50])
    first = run_import(projects)
    assert first.tools == {"Bash": 1}
    assert first.skipped == {"half-written last line": 1}
    session.path.write_text(whole + more)
    assert run_import(projects).tools == {"Bash": 1}


def test_a_last_line_that_lacks_only_its_newline_counts(
    session: Recording, projects: Path, run_import: Import
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.path.write_text(session.path.read_text().rstrip("\n"))
    assert run_import(projects).tools == {"Bash": 1}


def test_strange_lines_are_counted_with_a_reason_and_passed_over(
    session: Recording, projects: Path, run_import: Import
) -> None:
    session.prompt(0)
    session.raw("not json\n[1]\n\n{}\n" + "[" * 100_000 + "\n" + '{"type":"user"}\n')
    session.write(1, type="brand-new")
    session.system(1, "brand_new")
    session.write(1, type="user", message=None, timestamp="yesterday")
    session.raw('{"type":"assistant","message":"\\ud800' + "x" * 2_000_000 + '"}\n')
    session.call(2, "t1")
    summary = run_import(projects)
    assert summary.tools == {"Bash": 1}
    assert summary.skipped["unknown kind brand-new"] == 1
    assert summary.skipped["unknown kind system/brand_new"] == 1
    assert summary.skipped["no JSON"] == 2
    assert summary.skipped["no JSON object"] == 1
    assert summary.skipped["no time"] == 3


def test_sub_agents_nest_to_any_depth(
    session: Recording,
    agent: Callable[[str], Recording],
    projects: Path,
    run_import: Import,
    history: History,
) -> None:
    depth = 8
    recordings = [session, *(agent(f"a{level}") for level in range(1, depth))]
    session.prompt(0)
    for level, recording in enumerate(recordings):
        if level:
            recording.prompt(level, f"task {level}")
        if level < depth - 1:
            recording.call(
                level + 0.5, f"t{level}", "Agent", subagent_type="deep", prompt=f"task {level + 1}"
            )
            recordings[level + 1].common = {"promptId": None}
    for level in range(depth - 1, -1, -1):
        recordings[level].say(100 - level)
        if level:
            recordings[level - 1].result(100.5 - level, f"t{level - 1}", agentId=f"a{level}")
    summary = run_import(projects)
    assert summary.agents == depth - 1
    spans = {span["spanId"]: span for span in history()}
    assert len({span["traceId"] for span in spans.values() if span["name"] != "session.init"}) == 1
    innermost = next(
        span
        for span in spans.values()
        if span["name"] == "invoke_agent deep"
        and span["attributes"]["gen_ai.agent.id"] == f"a{depth - 1}"
    )
    ancestors = []
    while innermost.get("parentSpanId"):
        innermost = spans[innermost["parentSpanId"]]
        ancestors.append(innermost["name"])
    assert ancestors.count("execute_tool Agent") == depth - 1
    assert ancestors[-1] == "agent.turn"


def test_the_command_prints_what_was_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claude", "import", str(DATA), "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert added["sessions"] == 1
    assert added["agents"] == 2
    assert added["spans"] > added["errors"] > 0
    assert main(["claude", "import", str(DATA)]) == 0
    assert "spans added           0" in capsys.readouterr().out


def test_only_the_wanted_project_and_time_are_imported(
    session: Recording, projects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.prompt(0)

    def imported(*words: str) -> int:
        assert main(["claude", "import", str(projects), "--format", "json", *words]) == 0
        return int(json.loads(capsys.readouterr().out)["sessions"])

    assert imported("--project", "office") == 0
    assert imported("--since", "1s") == 0
    assert imported("--project", "/work/shop") == 1


def test_a_path_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claude", "import", "/no/such/place"]) == 2
    assert capsys.readouterr().err == "orchwatch: /no/such/place: no such file or directory\n"


def test_without_paths_the_users_own_projects_are_imported(
    session: Recording,
    projects: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session.prompt(0)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(projects.parent))
    assert main(["claude", "import", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["turns"] == 1


def test_a_home_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file" / "home"))
    assert main(["claude", "import", str(DATA)]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"orchwatch: {tmp_path}/file/home: ")
    assert complaint.count("\n") == 1
