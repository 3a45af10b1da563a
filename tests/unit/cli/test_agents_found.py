from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.agents.codex.conftest import Rollout, thread_id

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def codex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of Codex with one session, of which one line is not understood."""
    place = tmp_path / "codex"
    monkeypatch.setenv("CODEX_HOME", str(place))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "nothing"))
    thread = thread_id(1)
    one = Rollout(place / "sessions" / "2026" / f"rollout-x-{thread}.jsonl", thread)
    one.meta()
    one.begin(1)
    one.write(2, "novelty\x1b[31m")
    one.end(3)
    return place


def test_what_is_found_where_is_listed(codex: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents", "--found", "--format", "json"]) == 0
    found = {one["agent"]: one for one in json.loads(capsys.readouterr().out)["found"]}
    mine = found["codex"]
    assert mine["places"][0] == {"path": str(codex / "sessions"), "there": True}
    assert (mine["sessions"], mine["files"], mine["version"]) == (1, 1, "0.171.0")
    assert (mine["imported"], mine["skipped"]) == (0, {})
    assert found["claude-code"]["places"][0]["there"] is False
    assert main(["import", "--agent", "codex"]) == 0
    capsys.readouterr()
    assert main(["agents", "--found", "--format", "json"]) == 0
    found = {one["agent"]: one for one in json.loads(capsys.readouterr().out)["found"]}
    assert found["codex"]["imported"] == 1
    assert found["codex"]["skipped"] == {"unknown kind ?": 1}


def test_what_cannot_be_read_is_not_taken_for_no_session(
    codex: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = codex / "sessions" / "2026"
    (folder / "notes.jsonl").write_text('{"a": 1}\n')
    for name in ("gone", "loop"):
        (folder / f"rollout-{name}.jsonl").symlink_to(f"rollout-{name}.jsonl")
    assert main(["agents", "--found", "--format", "json"]) == 0
    found = {one["agent"]: one for one in json.loads(capsys.readouterr().out)["found"]}
    mine = found["codex"]
    assert (mine["strange_files"], mine["unreadable"]) == (1, {"unreadable file": 2})
    assert main(["agents", "--found"]) == 0
    assert "others      1 file of no session, 2 unreadable files\n" in capsys.readouterr().out


@pytest.mark.usefixtures("codex")
def test_it_fits_a_terminal_and_obeys_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["import"]) == 0
    assert main(["agents", "--found"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Codex CLI (codex)" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "/" not in line)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["agents", "--found"]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 40 for line in out.splitlines() if "/" not in line)


@pytest.mark.usefixtures("codex")
@pytest.mark.parametrize("given", ["--session=s", "--since=1h", "--agent=a"])
def test_a_filter_does_not_go_with_it(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents", "--found", given]) == 2
    assert f"{given.partition('=')[0]} does not go with --found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "imported"),
    [
        ([{"type": "mode"}, {"type": "last-prompt"}], 0),
        ([{"type": "mode"}, {"type": "novelty"}], 1),  # there is what is not understood
        ([{"type": "user", "uuid": "u", "timestamp": "2026-01-01T00:00:00Z"}], 1),
    ],
)
def test_a_session_of_which_nothing_was_to_be_had_does_not_count_as_imported(
    codex: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lines: list[dict[str, str]],
    imported: int,
) -> None:
    session = "0f7b6f0e-1111-4222-8333-444455556666"
    path = tmp_path / "nothing" / "projects" / "p" / f"{session}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"sessionId": session, **line}) + "\n" for line in lines))
    assert codex.is_dir()
    assert main(["import"]) == 0
    capsys.readouterr()
    assert main(["agents", "--found", "--format", "json"]) == 0
    found = {one["agent"]: one for one in json.loads(capsys.readouterr().out)["found"]}
    assert (found["claude-code"]["sessions"], found["claude-code"]["imported"]) == (1, imported)
    assert found["codex"]["imported"] == 1
