"""What is followed as it is written comes to the spans of an import of the end."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.codex.conftest import SHARED, Rollout, at, ns, thread_id
from tests.unit.agents.imported import add, in_memory

from orchwatch.agents.codex.reader import Codex
from orchwatch.agents.gemini.reader import Gemini
from orchwatch.agents.importer import import_sessions
from orchwatch.agents.opencode.reader import OpenCode
from orchwatch.agents.qwen.reader import Qwen
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.fields import time_ns
from orchwatch.agents.sessions.import_record import ImportRecord
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.following import Following
from orchwatch.monitor.other_agents import OtherAgent
from orchwatch.monitor.span_recorder import SpanRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from orchwatch.agents.reader import Reader, RecordedSession
    from orchwatch.agents.sessions.spans import Span

pytestmark = pytest.mark.usefixtures("home")

_HOURS_NS = 5 * 3600 * 1_000_000_000
_LATER_NS = 300_000_000


@pytest.fixture
def codex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "codex"
    monkeypatch.setenv("CODEX_HOME", str(place))
    (place / "sessions").mkdir(parents=True)
    return place


class Live:
    """The monitor's part that follows one agent, by a clock of its own."""

    def __init__(self, reader: Reader | None = None) -> None:
        self.claims = Claims()
        self.reader = reader or Codex()
        self.agent = OtherAgent(self.reader, self.claims, 0, {})
        self.spans: dict[str, Span] = {}
        self._moments = count(1_000_000_000, 1000)

    def look(self, now_ns: int) -> None:
        self.agent.step(next(self._moments))
        found = self.agent.finished(now_ns)
        self.claims.mark(found)
        for span in found:
            self.spans.setdefault(span.span_id, span)

    def restart(self) -> None:
        saved = json.loads(json.dumps(self.agent.save()))
        self.agent = OtherAgent(self.reader, self.claims, 0, saved)


def at_once(now_ns: int, reader: Reader | None = None) -> dict[str, Span]:
    live = Live(reader)
    live.look(now_ns + _HOURS_NS)
    return live.spans


def written(place: Path) -> list[tuple[int, str, str]]:
    """The lines below a folder by their times, each with its file's name."""
    lines = []
    for path in sorted(place.rglob("*.jsonl")):
        at_ns = 0
        for line in path.read_text().splitlines(keepends=True):
            record = json.loads(line)
            at_ns = time_ns(record.get("timestamp") or record.get("startTime")) or at_ns
            lines.append((at_ns, str(path.relative_to(place)), line))
    return sorted(lines, key=lambda line: line[0])


def append(place: Path, name: str, line: str, now_ns: int) -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line)
    os.utime(path, ns=(now_ns, now_ns))
    return path


def told(spans: Iterable[Span]) -> dict[str, Any]:
    return {span.span_id: span for span in spans}


def some_lines(place: Path) -> list[tuple[int, str, str]]:
    """A session with a tool, a sub-agent with a tool, and a second turn."""
    parent, child = thread_id(1), thread_id(2, 3)
    main = Rollout(place / f"rollout-a-{parent}.jsonl", parent)
    main.meta()
    main.begin(1)
    main.used(2, "r1", input_tokens=100, output_tokens=5, reasoning_output_tokens=1)
    main.call(3, "spawn", "spawn_agent")
    own = {"receiver_thread_ids": [child], "tool": "spawn_agent", "status": "completed"}
    main.item(3.2, 3.1, "CollabAgentToolCall", "spawn", **own)
    main.output(3.3, "spawn")
    main.end(30)
    main.begin(60)
    main.used(62, "r3", input_tokens=50, output_tokens=5)
    main.end(63)
    sub = Rollout(place / f"rollout-b-{child}.jsonl", child)
    sub.meta(3.2, session_id=parent, parent_thread_id=parent, agent_role="helper")
    sub.begin(3.4)
    sub.used(5, "r2", input_tokens=70, output_tokens=7)
    sub.call(6, "c1")
    sub.item(8, 6.5, "CommandExecution", "c1", exit_code=0, status="completed")
    sub.output(8.1, "c1")
    sub.end(20)
    return written(place)


@pytest.fixture(params=["made here", "codex-0.171.0", "codex-0.120.0"])
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[int, str, str]]:
    if request.param == "made here":
        return some_lines(tmp_path / "made")
    if not SHARED.is_dir():
        pytest.skip("the whole homes are not here")
    return written(SHARED / request.param / "home" / ".codex" / "sessions")


@pytest.mark.parametrize("every", [1, 7])
def test_a_file_that_grows_gives_the_spans_of_its_end(
    codex: Path, lines: list[tuple[int, str, str]], every: int
) -> None:
    live = Live()
    for number, (now_ns, name, line) in enumerate(lines):
        append(codex / "sessions", name, line, now_ns)
        if number % every == 0:
            live.look(now_ns + _LATER_NS)
        if number % 23 == 0:
            live.restart()
    live.look(lines[-1][0] + _HOURS_NS)
    assert told(live.spans.values()) == at_once(lines[-1][0])


def test_a_file_that_is_moved_or_rewritten_adds_nothing(codex: Path, tmp_path: Path) -> None:
    lines = some_lines(tmp_path / "made")
    live = Live()
    for now_ns, name, line in lines:
        append(codex / "sessions", name, line, now_ns)
        live.look(now_ns + _LATER_NS)
    wanted = at_once(lines[-1][0])
    live.look(lines[-1][0] + _HOURS_NS)
    (codex / "archived_sessions").mkdir()
    for path in (codex / "sessions").iterdir():
        path.rename(codex / "archived_sessions" / path.name)
    live.look(lines[-1][0] + _HOURS_NS)
    for path in (codex / "archived_sessions").iterdir():
        content = path.read_bytes()
        path.write_bytes(b"\n" + content)
    live.look(lines[-1][0] + _HOURS_NS)
    assert live.spans == wanted


def test_a_file_that_is_cut_short_and_written_again_gives_the_same(
    codex: Path, tmp_path: Path
) -> None:
    lines = some_lines(tmp_path / "made")
    live = Live()
    for number, (now_ns, name, line) in enumerate(lines):
        path = append(codex / "sessions", name, line, now_ns)
        live.look(now_ns + _LATER_NS)
        if number % 6 == 5:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            live.look(now_ns + _LATER_NS)
            path.write_bytes(content)
            os.utime(path, ns=(now_ns, now_ns))
            live.look(now_ns + _LATER_NS)
    live.look(lines[-1][0] + _HOURS_NS)
    assert live.spans == at_once(lines[-1][0])


def test_the_monitor_records_them_as_their_own_service_and_counts_their_tokens(
    codex: Path, home: Path, tmp_path: Path
) -> None:
    for _, name, line in some_lines(tmp_path / "made"):
        append(codex / "sessions", name, line, ns(0))
        modified_s = time.time() - 600
        os.utime(codex / "sessions" / name, (modified_s, modified_s))
    follow(lambda following: following.export_tokens())
    spool = home / "spool"
    spans = "".join(path.read_text() for path in spool.glob("history-*"))
    assert '"service.name","value":{"stringValue":"codex"}' in spans
    assert spans.count('"spanId"') == len(at_once(time.time_ns()))
    metrics = "".join(path.read_text() for path in spool.glob("metrics-*"))
    assert "gpt-5.5" in metrics or not metrics
    follow(lambda _: None)
    again = "".join(path.read_text() for path in spool.glob("history-*"))
    assert again == spans


def test_a_file_that_was_written_to_lately_does_not_wait_for_all_others(
    codex: Path, tmp_path: Path
) -> None:
    live = Live()
    lines = some_lines(tmp_path / "made")
    append(codex / "sessions", *lines[0][1:], lines[0][0])
    live.agent.step(10)
    live.agent._round_s = 1000.0  # as if there were very many
    for now_ns, name, line in lines[1:3]:
        append(codex / "sessions", name, line, now_ns)
    assert not live.agent.step(10.5)
    assert live.agent.step(11)
    assert not live.agent.step(12)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the whole homes are not here")
def test_the_lines_of_another_agent_are_followed_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_CLI_HOME", str(tmp_path))
    live = Live(Gemini())
    lines = written(SHARED / "gemini-0.61.0" / "home")
    for now_ns, name, line in lines:
        append(tmp_path, name, line, now_ns)
        live.look(now_ns + _LATER_NS)
    live.look(lines[-1][0] + _HOURS_NS)
    assert live.spans == at_once(lines[-1][0], Gemini())
    assert len(live.spans) > 20


def test_a_session_in_two_files_is_followed_in_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    live = Live(Qwen())
    for second in range(0, 120, 20):
        folder = "b" if second >= 60 else "a"  # it goes on in the other one
        for offset, kind in enumerate(("user", "assistant")):
            record = {
                "uuid": f"{kind}-{second}",
                "sessionId": "s",
                "timestamp": at(second + offset),
                "type": kind,
                "message": {"role": kind, "parts": [{"text": "what"}]},
            }
            line = json.dumps(record) + "\n"
            append(tmp_path / "projects", f"{folder}/chats/s.jsonl", line, ns(second + offset))
        live.look(ns(second + 2))
        if second in (40, 80):
            live.restart()
    live.look(ns(120) + _HOURS_NS)
    whole, _, _ = in_memory(Qwen(), tmp_path)
    assert live.spans.keys() == told(whole).keys()
    assert len(whole) == 6


@pytest.mark.skipif(not SHARED.is_dir(), reason="the whole homes are not here")
def test_a_database_is_read_again_where_a_session_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    source = SHARED / "opencode-1.18.33" / "home" / ".local" / "share" / "opencode" / "opencode.db"
    place = tmp_path / "opencode" / "opencode.db"
    place.parent.mkdir()
    live = Live(OpenCode())
    with closing(sqlite3.connect(f"file:{source}?mode=ro&immutable=1", uri=True)) as whole:
        moments = sorted(at for (at,) in whole.execute("SELECT time_updated FROM part"))
    for until in moments[::20]:
        part = tmp_path / "part.db"
        part.write_bytes(source.read_bytes())
        with closing(sqlite3.connect(part)) as cut:
            for table in ("session", "part", "message"):
                cut.execute(f"DELETE FROM {table} WHERE time_created > ?", [until])
            for table in ("part", "message"):
                cut.execute(f"DELETE FROM {table} WHERE session_id NOT IN (SELECT id FROM session)")
            cut.commit()
        part.replace(place)
        live.look(until * 1_000_000 + _LATER_NS)
    place.unlink()
    place.write_bytes(source.read_bytes())
    now_ns = time.time_ns() + _HOURS_NS
    live.look(now_ns)
    whole_spans = at_once(now_ns, OpenCode())
    assert live.spans == whole_spans
    assert len(whole_spans) > 20


def follow(then: Callable[[Following], None]) -> None:
    checkpoint = Checkpoint()
    following = Following(checkpoint, [], [Codex()])
    while not following.spans and not following._files.complete:
        following.step(10)
    following.step(10)
    then(following)
    following.save()
    following.close()
    checkpoint.close()


def test_a_reader_that_breaks_does_not_end_the_others(
    capsys: pytest.CaptureFixture[str], codex: Path
) -> None:
    some_lines(codex / "sessions")

    class Broken(Codex):
        def places(self) -> list[str]:
            raise ValueError("no luck")

    checkpoint = Checkpoint()
    following = Following(checkpoint, [], [Broken(), Codex()])
    while not following._files.complete:
        following.step(10)
    following.step(10)
    assert following.spans
    following.close()
    checkpoint.close()
    assert "Traceback" not in capsys.readouterr().out


def short(codex: Path, number: int) -> Rollout:
    """A session with one turn, of the past."""
    thread = thread_id(number, number)
    one = Rollout(codex / "sessions" / f"rollout-{number}-{thread}.jsonl", thread)
    one.meta(number)
    one.begin(number + 1)
    one.call(number + 2, f"c{number}")
    one.output(number + 3, f"c{number}")
    one.end(number + 4)
    old_s = time.time() - 2 * 24 * 3600
    os.utime(one.path, (old_s, old_s))
    return one


def recorded_ids(home: Path) -> list[str]:
    segments = (path.read_text() for path in (home / "spool").glob("history-*"))
    return re.findall('"spanId":"([^"]+)"', "".join(segments))


def test_what_the_monitor_records_during_an_import_is_not_imported(codex: Path, home: Path) -> None:
    paths = [short(codex, number).path for number in (1, 2)]
    sessions, _ = Codex().find(map(str, paths))
    spans, _, _ = in_memory(Codex(), paths[1])

    def found() -> Iterator[tuple[Reader, RecordedSession]]:
        yield Codex(), sessions[0]
        SpanRecorder(None).append(spans, time.time_ns(), "codex")
        yield Codex(), sessions[1]

    with ImportRecord(lambda: None) as record:
        import_sessions(found(), record, lambda _: None)
    ids = recorded_ids(home)
    assert len(ids) == len(set(ids)) == 2 * len(spans)


def test_what_is_imported_while_the_monitor_runs_is_not_recorded_again(
    codex: Path, home: Path
) -> None:
    one, other = short(codex, 1), short(codex, 2)
    checkpoint = Checkpoint()
    following = Following(checkpoint, [], [Codex()])
    look(following)
    one.begin(100)  # goes on, and is read from its start
    one.end(101)
    look(following)
    of_one = len(recorded_ids(home))
    assert of_one
    add(Codex(), one.path, other.path)
    other.begin(100)
    other.end(101)
    look(following)
    following.close()
    checkpoint.close()
    ids = recorded_ids(home)
    assert len(ids) == len(set(ids)) == 2 * of_one


def look(following: Following) -> None:
    """A step in which all files are looked at."""
    for agent in following._others:
        agent._next_s = agent._round_s = 0.0
    following.step(10)
    while not following._files.complete:
        following.step(10)


def test_what_is_appended_to_a_file_is_read_without_a_look_at_other_sessions(
    codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = some_lines(codex / "sessions")
    live = Live()
    live.look(lines[-1][0] + _LATER_NS)
    for number in (5, 6, 7):
        short(codex, number)
    live.look(lines[-1][0] + _LATER_NS)
    looked: list[set[str]] = []
    find = live.reader.find

    def noted(paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        looked.append(set(paths))
        return find(sorted(looked[-1]))

    monkeypatch.setattr(live.reader, "find", noted)
    own = {str(codex / "sessions" / name) for _, name, _ in lines}
    for path in own:
        append(codex / "sessions", path, lines[-1][2], lines[-1][0] + _LATER_NS)
        live.look(lines[-1][0] + _LATER_NS)
    assert looked == [own, own]
    new = str(short(codex, 8).path)
    live.look(lines[-1][0] + _LATER_NS)
    assert set().union(*looked[2:]) == {new}


class Watched(Codex):
    """Notes which files' heads were read."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        wanted = list(paths)
        self.asked.append(wanted)
        return super().find(wanted)


def one_turn(place: Path, number: int) -> Path:
    thread = thread_id(number)
    main = Rollout(place / "sessions" / f"rollout-a-{thread}.jsonl", thread)
    main.meta()
    main.begin(1)
    main.used(2, f"r{number}", input_tokens=10)
    main.end(3)
    return main.path


def test_a_new_file_costs_a_look_at_its_own_session_alone(codex: Path) -> None:
    for number in range(1, 21):
        one_turn(codex, number)
    reader = Watched()
    live = Live(reader)
    live.look(ns(100))
    assert len(live.spans) == 20
    reader.asked.clear()
    new = one_turn(codex, 99)
    live.look(ns(200))
    assert len(live.spans) == 21
    assert {path for asked in reader.asked for path in asked} == {str(new)}


def test_a_new_sub_agent_is_its_followed_parents(codex: Path) -> None:
    """Only the parent's file says so: the two, and no other, are looked at."""
    for number in range(1, 11):
        one_turn(codex, number)
    parent, child = thread_id(50), thread_id(51)
    main = Rollout(codex / "sessions" / f"rollout-a-{parent}.jsonl", parent)
    main.meta()
    main.begin(1)
    main.call(3, "spawn", "spawn_agent")
    reader = Watched()
    live = Live(reader)
    live.look(ns(3.1))
    reader.asked.clear()
    sub = Rollout(codex / "sessions" / f"rollout-b-{child}.jsonl", child)
    sub.meta(3.2, session_id="", parent_thread_id=parent, agent_role="helper")
    sub.begin(3.4)
    sub.end(20)
    live.look(ns(3.5))
    looked_at = {path for asked in reader.asked for path in asked}
    assert looked_at == {str(main.path), str(sub.path)}
    own = {"receiver_thread_ids": [child], "tool": "spawn_agent", "status": "completed"}
    main.item(21, 3.1, "CollabAgentToolCall", "spawn", **own)
    main.output(21.1, "spawn")
    main.end(30)
    live.look(time.time_ns() + _HOURS_NS)
    (run,) = [span for span in live.spans.values() if span.operation == "agent.run"]
    assert run.attributes["session.id"] == parent


def test_of_files_that_nobody_writes_to_only_a_position_is_kept(
    codex: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [one_turn(codex, number) for number in range(1, 9)]
    live = Live()
    live.look(ns(100))
    followed = live.agent._files
    assert all(one.reading is not None for one in followed.values())
    live.look(ns(101))
    live.look(ns(102))
    assert len(followed) == 8
    assert all(one.reading is None for one in followed.values())
    monkeypatch.setattr("orchwatch.monitor.other_agents._MAX_FILES", 3)
    live.look(ns(103))
    assert len(followed) == 3
    paths[0].unlink()
    live.look(ns(104))
    assert str(paths[0]) not in live.agent._looks
    # One that was let go goes on: it is looked up what was written of it before.
    live.agent.looks_back = False
    begun = len(live.spans)
    goes_on = Rollout(paths[1], thread_id(2))
    goes_on.begin(200)
    goes_on.end(201)
    live.look(ns(300) + _HOURS_NS)
    assert live.agent.looks_back
    assert len(live.spans) == begun + 1


def test_one_that_rested_goes_on_where_it_was(codex: Path) -> None:
    path = one_turn(codex, 1)
    live = Live()
    for second in (100, 101, 102):
        live.look(ns(second))
    (followed,) = live.agent._files.values()
    assert followed.reading is None
    goes_on = Rollout(path, thread_id(1))
    goes_on.begin(200)
    goes_on.used(201, "r9", input_tokens=7)
    goes_on.end(202)
    live.look(ns(300) + _HOURS_NS)
    whole, _, _ = in_memory(Codex(), codex)
    assert told(whole) == live.spans
