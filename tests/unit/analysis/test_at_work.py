from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.agents.claude_code.sessions import clients
from orchwatch.analysis import at_work, snapshot_file
from orchwatch.analysis.at_work import Working
from orchwatch.recording import in_flight
from orchwatch.store import going_on

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000


@pytest.fixture(autouse=True)
def claude(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Claude Code keeps which process runs which session; the home is made first."""
    assert home
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    directory = tmp_path / "claude" / "sessions"
    directory.mkdir(parents=True)
    return directory


def note(directory: Path, pid: int, session_id: str, start: str) -> None:
    record = {
        "pid": pid,
        "procStart": start,
        "sessionId": session_id,
        "pidDomain": clients.pid_domain(),
    }
    (directory / f"{pid}.json").write_text(json.dumps(record))


def monitor(home: Path, rows: list[list[object]], **more: object) -> None:
    home.mkdir(exist_ok=True)
    document = {
        "written_at_ns": time.time_ns(),
        "interval_s": 5.0,
        "pid": os.getpid(),
        "pid_namespace": snapshot_file.pid_namespace(),
        "operations": {},
        "sessions": {},
        "at_work": rows,
        **more,
    }
    snapshot_file.write(str(home), document)


@pytest.mark.parametrize(
    ("inner", "attributes", "phase", "detail"),
    [
        ("tool.execute", {"gen_ai.tool.name": "Bash"}, "tool", "Bash"),
        ("hook.process", {}, "hook", "hook.process"),
        ("user.wait", {"orchestration.wait.reason": "permission"}, "person", "permission"),
        ("agent.turn", {}, "model", "agent.turn"),
        ("my.own", {}, "work", "my.own"),
    ],
)
def test_an_agent_does_what_it_began_last(
    home: Path, inner: str, attributes: dict[str, str], phase: str, detail: str
) -> None:
    who = {"session.id": "s", "gen_ai.agent.name": "coder"}
    with operation("agent.task", who), operation(inner, {**who, **attributes}):
        (one,) = at_work.look(home).agents
    assert (one.session_id, one.agent, one.phase, one.detail) == ("s", "coder", phase, detail)
    assert (one.pid, (one.since_ns or 0) <= time.time_ns()) == (os.getpid(), True)
    assert at_work.look(home).agents == ()


def test_one_that_has_called_another_waits_for_it(home: Path) -> None:
    with (
        operation("agent.task", {"session.id": "s", "gen_ai.agent.name": "lead"}),
        operation("agent.run", {"session.id": "s", "gen_ai.agent.name": "coder"}),
    ):
        found = {one.agent: (one.phase, one.detail) for one in at_work.look(home).agents}
    assert found == {"lead": ("agent", "coder"), "coder": ("model", "agent.run")}


def test_what_names_neither_session_nor_agent_is_nobodys(home: Path) -> None:
    with operation("agent.task"):
        assert at_work.look(home).agents == ()
        assert [one.operation for one in going_on.operations(home)] == ["agent.task"]


def test_notes_that_are_no_notes_are_passed_over(home: Path) -> None:
    directory = home / in_flight.DIRECTORY
    directory.mkdir(parents=True)
    (directory / "1-ab").write_bytes(b"\xff" * 5000)
    (directory / "2-ab").symlink_to("/dev/zero")
    (directory / "3-ab").mkdir()
    os.mkfifo(directory / "4-ab")
    assert going_on.operations(home) == []


def test_the_monitor_says_what_goes_on_in_sessions_and_claude_code_which_process_it_is(
    home: Path, claude: Path
) -> None:
    pid = os.getpid()
    note(claude, pid, "one", in_flight.start_time(pid))
    note(claude, 1 << 30, "gone", "7")
    found = at_work.look(home)
    assert found.agents == (Working("one", "main", "unknown", pid=pid),)
    assert (set(found.gone), found.monitor_s) == ({"gone"}, None)
    monitor(home, [["one", "reviewer", "tool", "Read", 5 * S]])
    found = at_work.look(home)
    assert found.agents == (
        Working("one", "main", "idle", pid=pid),
        Working("one", "reviewer", "tool", "Read", 5 * S),
    )
    assert found.monitor_s is not None
    monitor(home, [["one", "main", "model", "", 5 * S]])
    assert at_work.look(home).agents == (Working("one", "main", "model", "", 5 * S, pid),)


def test_a_snapshot_that_is_old_damaged_or_anothers_says_nothing(home: Path) -> None:
    rows: list[list[object]] = [["one", "main", "model", "", 5]]
    monitor(home, rows, written_at_ns=time.time_ns() - 3600 * S)
    assert at_work.look(home) == at_work.Seen()
    monitor(home, rows, pid=1 << 40)
    assert at_work.look(home) == at_work.Seen()
    monitor(home, [["one"], ["one", "main", "flies", "", 5], [1, 2, "tool", 3, "x"], *rows])
    assert len(at_work.look(home).agents) == 1
    (home / "snapshot.json").write_text("[]")
    assert at_work.look(home) == at_work.Seen()


def test_the_snapshot_has_the_latest_and_leaves_them_out_where_room_is_short(
    home: Path,
) -> None:
    agents = [Working("s", str(number), "tool", "Bash", number) for number in range(100)]
    rows = at_work.as_rows(agents)
    assert [row[1] for row in rows] == [str(99 - number) for number in range(at_work.MAX_AGENTS)]
    monitor(home, [["x" * 1000, "main", "model", "", 5]] * 40)
    assert at_work.look(home).agents == ()
    assert (home / "snapshot.json").stat().st_size <= snapshot_file.MAX_BYTES
