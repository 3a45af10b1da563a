from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.unit.agents.damage import without_rights

from orchwatch.agents import registry
from orchwatch.agents.reader import session_files, why_strange
from orchwatch.agents.sessions import databases
from orchwatch.agents.sessions.fields import text
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")

READER = """
from collections import Counter

from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions import facts


class _Log:
    def __init__(self, session_id):
        self.session_id, self.skipped, self.version = session_id, Counter(), "2.0"

    def read_record(self, record):
        common = {"session_id": self.session_id, "time_ns": record["ns"], "prompt_id": "p"}
        if record["kind"] == "ask":
            return [facts.PromptSubmitted(**common, record_id="p")]
        if record["kind"] == "answer":
            return [facts.TurnEnded(**common), facts.TurnOver(**common)]
        self.skipped["unknown kind " + record["kind"]] += 1
        return []

    def state(self):
        return {}


class Mine(Reader):
    name, title, provider, suffixes, knows = "mine", "My agent", "me", (".mine",), "1.0"

    def places(self):
        return []

    def find(self, paths):
        own = [path for path in paths if path.endswith(".mine")]
        rest = [path for path in paths if path not in own]
        files = [SessionFile(path, None, path) for path in own]
        return [RecordedSession("s", "", (file,)) for file in files], rest

    def file_reader(self, session, file, claims, state=None):
        return _Log(session.session_id)


class Broken(Mine):
    def __init__(self):
        raise ValueError("no \\x1b[31mluck")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another package, as it is installed, with a reader that works and one that does not."""
    installed = tmp_path / "site"
    about = installed / "other_agent-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-agent\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[orchwatch.agents]\nmine = other_agent:Mine\nbad = other_agent:Broken\n"
    )
    (installed / "other_agent.py").write_text(READER)
    monkeypatch.syspath_prepend(str(installed))
    return installed


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.mine"
    start_ns = 1_780_000_000_000_000_000
    lines = [
        {"kind": "ask", "ns": start_ns},
        {"kind": "novelty", "ns": start_ns + 1},
        {"kind": "answer", "ns": start_ns + 2_000_000_000},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.usefixtures("package")
def test_another_package_adds_a_reader_by_an_entry_point(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(log), "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["sessions"], added["turns"], added["spans"]) == (1, 1, 1)
    assert added["skipped"] == {"unknown kind novelty": 1}
    assert main(["import", str(log), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["spans"] == 0


@pytest.mark.usefixtures("package")
def test_its_sessions_are_those_of_its_own_service(log: Path, home: Path) -> None:
    assert main(["import", "--agent", "mine", str(log)]) == 0
    spool = "".join(path.read_text() for path in (home / "spool").glob("history-*"))
    assert '{"key":"service.name","value":{"stringValue":"mine"}}' in spool


@pytest.mark.usefixtures("package")
def test_doctor_says_what_of_its_sessions_is_not_understood(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", str(log)])
    capsys.readouterr()
    main(["doctor", "--format", "json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    mine = next(check for check in checks if check["name"] == "agent mine")
    assert mine["state"] == "warn"
    assert "1 session of My agent 2.0 (newer than 1.0" in mine["found"]
    assert "unknown kind novelty 1" in mine["found"]
    broken = next(check for check in checks if check["name"] == "agent")
    assert "ValueError: no \\x1b[31mluck" in broken["found"]


@pytest.mark.usefixtures("package")
def test_a_broken_reader_is_named_and_the_others_read_on(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(log)]) == 0
    complaints = capsys.readouterr().err.splitlines()
    assert any("bad (entry point other_agent:Broken): ValueError" in line for line in complaints)


FAILING = """
from other_agent import Mine


class Nameless(Mine):
    name = None


class Untitled(Mine):
    name, title = "untitled", ""


class Fails(Mine):
    name, title = "fails", "Fails"

    def find(self, paths):
        raise RuntimeError("no luck")


class Nowhere(Mine):
    name, title = "nowhere", "Nowhere"

    def places(self):
        raise OSError("no home")
"""


def test_a_reader_that_fails_is_named_and_the_others_read_on(
    package: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "failing_agent.py").write_text(FAILING)
    names = ("Nameless", "Untitled", "Fails", "Nowhere")
    points = "".join(f"{name.lower()} = failing_agent:{name}\n" for name in names)
    (package / "other_agent-1.0.dist-info" / "entry_points.txt").write_text(
        f"[orchwatch.agents]\nmine = other_agent:Mine\n{points}"
    )
    lacking = [
        f"{name.lower()} (entry point failing_agent:{name}): it has no {what}"
        for name, what in (("Nameless", "name"), ("Untitled", "title"))
    ]
    assert main(["import", str(log), "--format", "json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["spans"] == 1
    lines = [*lacking, "fails: RuntimeError: no luck"]
    assert output.err.splitlines() == [f"orchwatch: agent left out: {line}" for line in lines]
    assert main(["import"]) == 0
    assert "agent left out: nowhere: OSError: no home\n" in capsys.readouterr().err
    assert main(["agents", "--found", "--format", "json"]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert left_out == [*lacking, "fails: RuntimeError: no luck", "nowhere: OSError: no home"]
    assert main(["doctor", "--format", "json"]) in {0, 1, 3}
    assert "it has no name" in capsys.readouterr().out


READING = """
from other_agent import Mine, _Log


class _Fails(_Log):
    def read_record(self, record):
        if record["kind"] == "answer":
            raise KeyError("no \\x1b[31mluck")
        return super().read_record(record)


class Fails(Mine):
    name, title, suffixes = "fails", "Fails", (".fails",)

    def find(self, paths):
        own = [path for path in paths if path.endswith(".fails")]
        found, _ = super().find([path.replace(".fails", ".mine") for path in own])
        return found, [path for path in paths if path not in own]

    def file_reader(self, session, file, claims, state=None):
        return _Fails(session.session_id)


class Twin(Mine):
    name, title, suffixes = "twin", "Twin", (".twin",)

    def find(self, paths):
        own = [path for path in paths if path.endswith(".twin")]
        found, _ = super().find([path.replace(".twin", ".mine") for path in own])
        return found, [path for path in paths if path not in own]
"""


def register(package: Path, *names: str) -> None:
    (package / "reading_agent.py").write_text(READING)
    points = "".join(f"{name.lower()} = reading_agent:{name}\n" for name in names)
    (package / "other_agent-1.0.dist-info" / "entry_points.txt").write_text(
        f"[orchwatch.agents]\nmine = other_agent:Mine\n{points}"
    )


def test_a_reader_that_fails_while_it_reads_costs_its_own_sessions_alone(
    package: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(package, "Fails")
    for name in ("a.fails", "b.fails"):
        (log.parent / name).write_text("")
        (log.parent / name.replace(".fails", ".mine")).write_text(log.read_text())
    paths = [str(log.parent / name) for name in ("a.fails", "b.fails", log.name)]
    for expected in (1, 0):  # tried again, as nothing of them was taken in
        assert main(["import", *paths, "--format", "json"]) == 0
        output = capsys.readouterr()
        added = json.loads(output.out)
        assert added["spans"] == expected
        assert added["skipped"]["session that its reader failed on"] == 2
        (line,) = output.err.splitlines()
        assert line.startswith("orchwatch: 2 sessions left out: fails: KeyError: ")
        assert "\x1b" not in line


def test_two_agents_may_have_a_session_of_the_same_id(
    package: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is read once, whichever was read last; what they say of themselves stays apart."""
    register(package, "Twin")
    (log.parent / "log.twin").write_text("")
    paths = [str(log), str(log.parent / "log.twin")]
    for unchanged in (0, 2, 2):
        assert main(["import", *paths, "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["unchanged"] >= unchanged
    main(["doctor", "--format", "json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    for agent in ("mine", "twin"):
        assert "1 session of " in checks[f"agent {agent}"]["found"]


def test_what_an_earlier_version_noted_of_an_import_still_holds(
    package: Path, log: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knew a session by its id alone."""
    assert package.is_dir()
    assert main(["import", str(log)]) == 0
    with closing(sqlite3.connect(home / "claude-import.sqlite")) as connection, connection:
        for table in ("seen", "written", "about"):
            connection.execute(f"UPDATE {table} SET session = 's'")
        connection.execute("PRAGMA user_version = 0")
    capsys.readouterr()
    for _ in range(2):
        assert main(["import", str(log), "--format", "json"]) == 0
        added = json.loads(capsys.readouterr().out)
        assert (added["sessions"], added["unchanged"], added["spans"]) == (0, 1, 0)
    with closing(sqlite3.connect(home / "claude-import.sqlite")) as connection:
        assert connection.execute("SELECT session FROM about").fetchall() == [("mine/s",)]


def test_half_a_character_in_an_id_or_a_name_ends_no_import(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package.is_dir()
    projects = tmp_path / "projects"
    moment = {"timestamp": "2026-05-28T20:26:40.000Z", "uuid": "u", "type": "user"}
    asked = {**moment, "promptId": "p", "message": {"role": "user", "content": "a question"}}
    for name, line in (
        ("a", {**asked, "sessionId": "\ud800one"}),
        ("\udcff/subagents/agent-\udcfe", {**asked, "isSidechain": True, "agentId": "\udfff"}),
        ("rollout", {**moment, "type": "session_meta", "payload": {"id": "\ud800two"}}),
        ("good", {**asked, "sessionId": "good"}),
    ):
        path = projects / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(line) + "\n")
    assert main(["import", str(projects), "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert not added["skipped"]
    assert added["turns"] == 2
    assert text("a\ud800" + "b" * 300) == "a?" + "b" * 254


def test_a_database_is_read_whatever_the_bytes_of_its_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "\udcff #?%"
    folder.mkdir()
    path = str(folder / "a.db")
    monkeypatch.chdir(folder)  # the module takes no such path
    with closing(sqlite3.connect("a.db")) as connection, connection:
        connection.execute("CREATE TABLE t (n)")
    assert databases.rows(path, "SELECT count(*) AS n FROM t") == [{"n": 0}]


def test_every_reader_of_this_package_can_be_used() -> None:
    readers, broken = registry.known()
    assert not broken
    assert [reader.name for reader in readers][-1] == "claude-code"
    assert len({reader.name for reader in readers}) == len(readers)
    for reader in readers:
        assert reader.title
        assert reader.suffixes
        assert reader.places()
        assert registry.named(reader.name).name == reader.name


def test_an_unknown_agent_is_named_with_those_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["import", "--agent", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("orchwatch: no agent nobody; there are ")


def test_a_path_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "/nowhere/at/all"]) == 2
    assert capsys.readouterr().err == "orchwatch: /nowhere/at/all: no such file or directory\n"


def test_a_file_that_is_no_session_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.jsonl").write_text('{"a": 1}\n')
    assert main(["import", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == {"file of no session": 1}


def test_a_file_that_was_named_and_is_no_session_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes, other = tmp_path / "notes.txt", tmp_path / "other\x1b.jsonl"
    notes.write_text("a note\n")
    other.write_text('{"a": 1}\n')
    for command in (["import"], ["claude", "import"], ["import", "--agent", "codex"]):
        assert main([*command, str(notes)]) == 1
        assert capsys.readouterr() == ("", f"orchwatch: {notes}: file of no session\n")
    assert main(["import", str(other), str(notes)]) == 1
    out, error = capsys.readouterr()
    assert not out
    assert error.endswith("other\\x1b.jsonl: file of no session, and 1 other file\n")
    # One in a folder that was named is only counted.
    assert main(["import", str(tmp_path)]) == 0
    assert "skipped lines" in capsys.readouterr().out


def test_what_else_was_named_is_imported_beside_it(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], package: Path
) -> None:
    assert package.is_dir()
    notes = tmp_path / "notes.txt"
    notes.write_text("a note\n")
    assert main(["import", str(notes), str(log), "--format", "json"]) == 1
    out, error = capsys.readouterr()
    assert json.loads(out)["spans"] == 1
    assert error.endswith(f"orchwatch: {notes}: file of no session\n")


def test_what_cannot_be_read_is_counted_and_the_rest_is_read(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], package: Path
) -> None:
    assert package.is_dir()
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "device.jsonl").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "notes.jsonl").write_text('{"a": 1}\n')
    assert main(["import", str(log.parent), "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert added["spans"] == 1
    wanted = {"unknown kind novelty": 1, "unreadable file": 4, "file of no session": 1}
    assert added["skipped"] == wanted
    assert main(["claude", "import", str(tmp_path / "pipe.jsonl"), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["skipped"] == {"unreadable file": 1}


def test_a_broken_link_among_an_agents_own_files_ends_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "a.jsonl").symlink_to("nowhere")
    for command in (["agents", "--found"], ["import"], ["claude", "import"]):
        assert main(command) == 0, command
    assert main(["claude", "import", "/nowhere/at/all"]) == 2
    assert capsys.readouterr().err.endswith("/nowhere/at/all: no such file or directory\n")


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.jsonl").touch()
    (tmp_path / "shut").mkdir(0)
    (tmp_path / "2.jsonl").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # another user may not get there by its path
    claude_code = registry.named("claude-code")
    with without_rights():
        found = list(session_files(["."], (".jsonl",)))
        assert found == ["./1.jsonl", "./2.jsonl", "./shut"]
        reasons = ["file of no session", "unreadable file", "unreadable folder"]
        assert [why_strange(path) for path in found] == reasons
        _, strange = claude_code.find(["."])
    assert strange == ["./2.jsonl", "./shut"]
    (tmp_path / "shut").chmod(0o700)
