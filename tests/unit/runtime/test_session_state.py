from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.runtime import state_tree
from orchwatch.runtime.session_files import cleanup_expired
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import KEPT_VERSIONS
from orchwatch.runtime.state_paths import PathError
from orchwatch.runtime.state_tree import VersionConflictError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Release = Callable[[list[subprocess.Popen[str]]], None]

OPEN = """
import sys
from orchwatch.runtime import state_tree
from orchwatch.runtime.session_state import SessionStateManager
state = SessionStateManager(sys.argv[1], "s1")
"""
LIMIT_S = 120


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SessionStateManager]:
    with SessionStateManager(tmp_path / "workspace", "s1") as opened:
        yield opened


def test_a_new_session_is_active(state: SessionStateManager) -> None:
    assert state.status == "active"
    assert state.get("session.id") == "s1"
    assert state.get("$.nothing.there", "default") == "default"


def test_members_are_written_and_read_by_path(state: SessionStateManager) -> None:
    state.set("$.tasks.t1", {"status": "pending", "tries": 0, "files": ["a", {"b": None}]})
    state.set("$.tasks['a.b']", {})
    state.merge("tasks", {"t1": {"status": "done"}, "t2": {"status": "new"}})
    assert state.increment("tasks.t1.tries", 2) == 2
    assert state.increment(("counts", "new")) == 1
    assert state.delete("tasks.t2")
    assert not state.delete("tasks.t2")
    assert state.get("tasks") == {
        "t1": {"status": "done", "tries": 2, "files": ["a", {"b": None}]},
        "a.b": {},
    }
    assert state.get(("tasks", "a.b")) == {}
    assert state.document["counts"] == {"new": 1}


def _model_set(model: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        model = model.setdefault(key, {})
    model[keys[-1]] = value


def _is_below_a_value(model: Any, keys: tuple[str, ...]) -> bool:
    for key in keys[:-1]:
        if not isinstance(model, dict):
            return True
        model = model.get(key, {})
    return not isinstance(model, dict)


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_what_a_dict_would_hold(state: SessionStateManager, seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b.c", "it's", 'q"', "ü", "\x1e0", "\x1f", "", "$", "x y"]
    values: list[Any] = [1, 2.5, None, True, "text", [1, {"a": []}], {}, {"a": {"b.c": 1}, "": 2}]
    model: dict[str, Any] = {}
    state.set("$", {})
    for _ in range(150):
        keys = tuple(chance.choices(names, k=chance.randint(1, 3)))
        value = json.loads(json.dumps(chance.choice(values)))
        if chance.random() < 0.2:
            state.delete(keys)
            inner: Any = model
            for key in keys[:-1]:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                inner.pop(keys[-1], None)
        elif _is_below_a_value(model, keys):
            with pytest.raises(StateError, match="is no object and has no members"):
                state.set(keys, value)
        else:
            state.set(keys, value)
            _model_set(model, keys, value)
        assert state.document == model
    state.verify()


def test_a_write_to_another_version_than_expected_is_refused(state: SessionStateManager) -> None:
    state.set("a.b", 1, expected_version=0)
    version = state.version("a.b")
    state.set("a.c", 1)
    assert state.version("a.b") == version < state.version("a")
    state.set("a.b", 2, expected_version=version)
    with pytest.raises(VersionConflictError, match=r"\$\.a\.b is at version \d+, not \d+") as told:
        state.set("a.b", 3, expected_version=version)
    assert told.value.found == state.version("a.b")
    assert state.get("a.b") == 2


def test_a_transaction_happens_as_a_whole_or_not_at_all(state: SessionStateManager) -> None:
    with state.transaction() as transaction:
        transaction.set("a", 1)
        transaction.increment("a", 4)
    version = state.version()
    with suppress(ZeroDivisionError), state.transaction() as transaction:
        transaction.set("a", 9 / 0 if transaction.increment("a") else 0)
    assert (state.get("a"), state.version()) == (5, version)
    with (
        state.transaction() as transaction,
        pytest.raises(StateError, match="a transaction is open; write through it"),
    ):
        state.set("a", 7)


def test_processes_at_once_lose_no_increment(
    tmp_path: Path, start_python: Start, release: Release
) -> None:
    code = (
        OPEN
        + "sys.stdin.readline()\nfor number in range(100):\n"
        + "    state.increment('counts.all'); state.set(('by', sys.argv[2], str(number)), number)\n"
    )
    release([start_python(code, tmp_path, str(number)) for number in range(8)])
    with SessionStateManager(tmp_path, "s1") as state:
        assert state.get("counts.all") == 800
        assert {name: len(of) for name, of in state.get("by").items()} == dict.fromkeys(
            map(str, range(8)), 100
        )
        state.verify()


def test_what_was_acknowledged_survives_every_kill(tmp_path: Path, start_python: Start) -> None:
    code = (
        OPEN
        + "while True:\n    with state.transaction() as one:\n"
        + "        number = one.increment('number'); one.set('copy', number)\n"
        + "    print(number, flush=True)\n"
    )
    acknowledged = 0
    for _ in range(int(os.environ.get("ORCHWATCH_TEST_KILLS", "5"))):
        process = start_python(code, tmp_path)
        assert process.stdout is not None
        for _ in range(random.randint(1, 30)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        said = process.stdout.read()  # also what is in the buffer
        process.wait(LIMIT_S)
        acknowledged = max([acknowledged, *map(int, said.split("\n")[:-1])])
        with SessionStateManager(tmp_path, "s1") as state:
            found = state.get("number")
            assert found - acknowledged in (0, 1)  # one may have been written and not printed
            assert state.get("copy") == found
            state.verify()
            acknowledged = found


def test_a_subscriber_in_another_process_sees_each_change(
    state: SessionStateManager, tmp_path: Path, start_python: Start
) -> None:
    process = start_python(
        OPEN + "print('open', flush=True)\n"
        "for change in state.subscribe('tasks', since=int(sys.argv[2])):\n"
        "    print(change.kind, change.path, flush=True)\n"
        "    if change.path == '$.tasks.end': break\n",
        tmp_path / "workspace",
        state.version(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    state.set("tasks.t1", {"status": "new"})
    state.set("other", 1)
    state.set("tasks.t1.status", "done")
    state.delete("tasks.t1")
    state.set("tasks.end", True)
    said = process.stdout.read()  # also what is in the buffer
    process.wait(LIMIT_S)
    assert said.splitlines() == [
        "set $.tasks.t1",
        "set $.tasks.t1.status",
        "delete $.tasks.t1",
        "set $.tasks.end",
    ]


def test_a_subscription_ends_when_nothing_changes_for_so_long(state: SessionStateManager) -> None:
    state.set("a", 1)
    found = list(state.subscribe(since=state.version() - 1, timeout_s=0.05))
    assert [(change.kind, change.path) for change in found] == [("set", "$.a")]


def test_a_forked_child_and_threads_write_to_the_same_state(state: SessionStateManager) -> None:
    child = os.fork()
    if not child:
        try:
            state.set("child", os.getpid())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0

    def work() -> None:
        for _ in range(50):
            state.increment("threads")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (state.get("child"), state.get("threads")) == (child, 200)


def test_views_and_checkpoints_are_whole_files(state: SessionStateManager) -> None:
    state.set("a", {"b": 1})
    view = state.export()
    assert json.loads(view.read_text()) == state.document
    assert json.loads(view.with_name("orchestration.json").read_text()) == state.document

    checkpoint = state.checkpoint()
    state.set("a", 2)
    assert state.restore() == checkpoint
    assert state.get("a") == {"b": 1}
    checkpoint.path.write_bytes(checkpoint.path.read_bytes().replace(b'"b":1', b'"b":7'))
    with pytest.raises(StateError, match="checksum"):
        state.restore()


def test_only_the_last_few_checkpoints_are_kept(state: SessionStateManager) -> None:
    for number in range(7):
        state.set("a", number)
        state.checkpoint()
    assert len(state.checkpoints()) == 5
    for version in (0, 1):
        with pytest.raises(StateError, match=f"no checkpoint {version} is kept"):
            state.restore(version)


def test_a_restore_where_no_checkpoint_is_says_so(state: SessionStateManager) -> None:
    with pytest.raises(StateError, match="no checkpoint is kept; there is none"):
        state.restore()


@pytest.mark.parametrize("by", [None, "1", True, [1]])
def test_only_a_number_is_added(state: SessionStateManager, by: Any) -> None:
    state.set("a", 1)
    with pytest.raises(StateError, match=r"\$\.a is incremented by a number, not "):
        state.increment("a", by)
    assert state.get("a") == 1


def test_an_expected_version_is_an_int(state: SessionStateManager) -> None:
    with pytest.raises(StateError, match="expected_version must be an int, not '1'"):
        state.set("a", 1, expected_version="1")  # type: ignore[arg-type]


def test_expired_sessions_go_unless_they_are_open(
    state: SessionStateManager, tmp_path: Path
) -> None:
    root = tmp_path / "workspace"
    for name, expires_after_s in (("old", 60.0), ("kept", None)):
        with SessionStateManager(root, name, expires_after_s=expires_after_s) as other:
            long_ago_s = time.time() - 3600
            path = other.path
        os.utime(path, (long_ago_s, long_ago_s))
    assert cleanup_expired(root) == ["old"]
    assert cleanup_expired(root, older_than_s=600) == ["kept"]
    os.utime(state.path, (long_ago_s, long_ago_s))
    assert cleanup_expired(root, older_than_s=0.0) == []  # this test has it open
    assert state.get("session.status") == "active"
    state.cleanup()
    assert not list((root / ".claude" / "state").glob("session-*"))


@pytest.mark.parametrize("session_id", ["", "a/b", "../x", ".x", "a" * 129, 7])
def test_an_id_that_names_no_file_is_refused(tmp_path: Path, session_id: Any) -> None:
    with pytest.raises(StateError, match="cannot be a session's id"):
        SessionStateManager(tmp_path, session_id)


@pytest.mark.parametrize("path", ["", ".a", "a..b", "$a", "a[0]", "$..a", "a[*]", ("a", 1)])
def test_what_names_no_member_is_refused(state: SessionStateManager, path: Any) -> None:
    with pytest.raises(PathError, match=r"names? (no|a) member"):
        state.get(path)


@pytest.mark.parametrize("value", [float("nan"), {"a": object()}, {"a": b"x"}, {1, 2}])
def test_what_is_no_json_is_refused_and_changes_nothing(
    state: SessionStateManager, value: Any
) -> None:
    state.set("a", 1)
    with pytest.raises(StateError, match="state is not JSON"):
        state.set("a", value)
    assert state.get("a") == 1


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_no_state_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / ".claude" / "state"
    directory.mkdir(parents=True)
    (directory / "session-s1.sqlite3").write_bytes(content)
    with pytest.raises(StateError, match=r"session-s1\.sqlite3: .*(not a database|malformed)"):
        SessionStateManager(tmp_path, "s1")
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.startswith(str(directory))]


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / ".claude" / "state"
    directory.mkdir(parents=True)
    path = directory / "session-s1.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs(x)")
    connection.close()
    with pytest.raises(StateError, match="holds no state of a session"):
        SessionStateManager(tmp_path, "s1")


def test_a_broken_row_is_found(state: SessionStateManager) -> None:
    state.set("a.b", 1)
    connection = sqlite3.connect(state.path)
    with connection:
        connection.execute("DELETE FROM nodes WHERE path = ?", ("\x1fa",))
    connection.close()
    with pytest.raises(StateError, match=r"damaged: \$\.a\.b is below no object"):
        state.verify()


def test_a_writer_that_is_stopped_leaves_readers_alone(
    state: SessionStateManager, tmp_path: Path, start_python: Start
) -> None:
    state.set("a", 1)
    process = start_python(
        OPEN + "with state.transaction() as one:\n    one.set('a', 2); print('in', flush=True)\n"
        "    sys.stdin.readline()\n",
        tmp_path / "workspace",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGSTOP)
    assert state.get("a") == 1
    process.kill()
    process.wait(LIMIT_S)
    state.set("a", 3)
    assert state.get("a") == 3


def test_a_write_does_not_wait_for_ever(tmp_path: Path, start_python: Start) -> None:
    process = start_python(
        OPEN + "with state.transaction() as one:\n    one.set('a', 2); print('in', flush=True)\n"
        "    sys.stdin.readline()\n",
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    for timeout_s in (0.05, 0.2):
        # Opening waits, too.
        with pytest.raises(StateError, match=rf"locked for {timeout_s} s by another writer"):
            SessionStateManager(tmp_path, "s1", lock_timeout_s=timeout_s)
    process.kill()
    process.wait(LIMIT_S)
    with SessionStateManager(tmp_path, "s1", lock_timeout_s=0.05) as state:
        assert state.get("a") is None


def test_a_thread_that_waits_too_long_gets_an_error(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, "s1", lock_timeout_s=0.05) as state:
        errors: list[BaseException] = []

        def write() -> None:
            try:
                state.set("a", 1)
            except StateError as error:
                errors.append(error)

        with state.transaction() as transaction:
            transaction.set("b", 1)
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
        assert "locked for 0.05 s by another writer" in str(errors[0])
        state.set("a", 1)


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan"), float("inf")])
def test_a_lock_timeout_is_more_than_nothing(tmp_path: Path, timeout_s: float) -> None:
    with pytest.raises(StateError, match="lock_timeout_s must be more than 0"):
        SessionStateManager(tmp_path, "s1", lock_timeout_s=timeout_s)


def test_every_kind_of_write_leaves_a_line_of_changes(state: SessionStateManager) -> None:
    state.set("a", 1)
    since = state.version()
    versions = [state.set("a", 2), state.set("a", {"b": 1}), state.set("a.b", "x")]
    state.increment("a.n")
    state.increment("a.n")
    state.merge("a", {"b": 2, "c": {}})
    state.delete("a.c")
    with state.transaction() as transaction:
        transaction.set("a.b", 3)
        transaction.set("a.b", 4)
        transaction.delete("a.n")
    found = state.changes(since=since)
    assert [(change.version - since, change.kind, change.path) for change in found] == [
        (1, "set", "$.a"),
        (2, "set", "$.a"),
        (3, "set", "$.a.b"),
        (4, "set", "$.a.n"),
        (5, "set", "$.a.n"),
        (6, "set", "$.a.b"),
        (6, "set", "$.a.c"),
        (7, "delete", "$.a.c"),
        (8, "set", "$.a.b"),
        (8, "set", "$.a.b"),
        (8, "delete", "$.a.n"),
    ]
    assert versions == [since + 1, since + 2, since + 3]
    assert state.version("a.b") == state.version() == since + 8


def test_changes_are_kept_for_a_while_only(state: SessionStateManager) -> None:
    state.set("a", 0)
    for number in range(KEPT_VERSIONS + 1100):
        state._database.write(state_tree.REPLACE, (str(number), "\x1fa"))
    with pytest.raises(StateError, match="are no longer kept: read the state"):
        state.changes(since=5)
    kept = state.changes(since=state.version() - KEPT_VERSIONS)
    assert len(kept) == KEPT_VERSIONS
    state.verify()


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="durability must be one of process, power, not 'all'"):
        SessionStateManager(tmp_path, "s1", durability="all")  # type: ignore[arg-type]
    with SessionStateManager(tmp_path, "s1", durability="power") as state:
        state.set("a", sys.maxsize)
        assert state.get("a") == sys.maxsize
