from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonpath_rfc9535
import pytest

from orchwatch.runtime.queries import QueryAPI, QueryError
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state_mirror import Mirror
from orchwatch.testing import capture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from orchwatch.runtime.memory import Cache

    Start = Callable[..., subprocess.Popen[str]]

# Its licence lies beside it.
SUITE = Path(__file__).parents[2] / "data" / "jsonpath" / "cts.json"
CASES = json.loads(SUITE.read_text())["tests"]
ACTIVE = "$.tasks[?@.status == 'active'].id"
LIMIT_S = 120

DOCUMENT: dict[str, Any] = {
    "session": {"id": "s", "status": "active"},
    "agents": {f"agent-{n}": {"status": "idle" if n % 2 else "busy", "pid": n} for n in range(5)},
    "tasks": {
        f"task-{n}": {
            "id": f"task-{n}",
            "status": ("pending", "running", "completed")[n % 3],
            "agent": f"agent-{n % 5}" if n % 3 else None,
            "attempts": n % 4,
            "parse_s": n / 7,
            "files": [f"{n}.py", f"{n}/a.py", f"{n}/b.py"][: n % 4],
        }
        for n in range(20)
    },
    "odd": [True, 1, 1.0, "1", None, [], {}, {"attempts": True}, {"attempts": "1"}, {"status": 1}],
}

PATHS = [
    "$",
    "$.session.status",
    "$['agents']['agent-1'].status",
    "$.agents.*.status",
    "$.agents.nobody.status",
    "$.session.status.deeper",
    "$.tasks.*.files[*]",
    "$.tasks.*.files[0]",
    "$.tasks.*.files[-1]",
    "$.tasks.*.files[7]",
    "$.tasks.*.files[0:2]",
    "$['agents', 'tasks'].*.status",
    "$.tasks[?@.status == 'running'].id",
    "$.tasks[?@.status == 'running' && @.agent == 'agent-1'].id",
    "$.tasks[?@.status == 'running' || @.status == 'pending'].id",
    "$.tasks[?!(@.status == 'running')].id",
    "$.tasks[?@.status != 'completed'].id",
    "$.tasks[?@.attempts == 1].id",
    "$.tasks[?@.attempts != 1].id",
    "$.tasks[?@.attempts >= 2].id",
    "$.tasks[?@.parse_s < 1.5].id",
    "$.tasks[?@.parse_s <= 1].id",
    "$.tasks[?1 < @.parse_s].id",
    "$.tasks[?@.agent == null].id",
    "$.tasks[?@.files[0] == '1.py'].id",
    "$.tasks[?count(@.files[*]) > 1].id",
    "$.tasks[?@['id', 'agent']].id",
    "$.odd[?@.attempts == 1]",
    "$.odd[?@.attempts != 1]",
    "$.odd[?@.status > 'a']",
    "$.odd[?@ == 1]",
    "$..pid",
    "$..files[1]",
    "$..[?@.status == 'idle']",
    "$..*",
]


@pytest.fixture
def queries() -> QueryAPI:
    return QueryAPI(SimpleNamespace(document=DOCUMENT))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_selects_what_the_library_selects(queries: QueryAPI, path: str) -> None:
    assert queries.query(path) == jsonpath_rfc9535.find(path, DOCUMENT).values()


@pytest.mark.parametrize("path", ["", "tasks", "$.tasks[", "$.tasks[?@.status = 'x']", "$.a b"])
def test_what_is_no_jsonpath_gives_one_clear_line(queries: QueryAPI, path: str) -> None:
    with pytest.raises(QueryError, match="is not JSONPath") as e:
        queries.query(path)
    assert "\n" not in str(e.value)


def test_the_state_is_queried_as_it_is_now() -> None:
    document: dict[str, int] = {}
    queries = QueryAPI(SimpleNamespace(document=document))
    assert queries.query("$.answer") == []
    document["answer"] = 42
    assert queries.query("$.answer") == [42]


def test_a_query_is_recorded_with_its_path_and_how_much_it_found(queries: QueryAPI) -> None:
    with capture() as captured:
        queries.query("$.agents.*.status")
    (query,) = captured.operations
    assert query.name == "state.query"
    assert query.attributes == {
        "orchestration.state.path": "$.agents.*.status",
        "orchestration.result.count": 5,
    }


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_compliance_suite_of_the_rfc_passes(case: dict[str, Any]) -> None:
    queries = QueryAPI(SimpleNamespace(document=case.get("document")))
    if case.get("invalid_selector"):
        with pytest.raises(QueryError, match="is not JSONPath"):
            queries.query(case["selector"])
    else:
        assert queries.query(case["selector"]) in case.get("results", [case.get("result")])


def test_the_compliance_suite_passes_over_a_session_that_keeps_and_indexes(
    state: SessionStateManager,
) -> None:
    queries = QueryAPI(state)
    for case in CASES:
        if isinstance(case.get("document"), dict) and not case.get("invalid_selector"):
            state.set("$", case["document"])
            allowed = case.get("results", [case.get("result")])
            for _ in range(3):
                found = queries.query(case["selector"])
                # The file has the members of an object in the order of their names.
                assert any(_unordered(found) == _unordered(each) for each in allowed), case["name"]


def _unordered(values: list[Any]) -> list[str]:
    return sorted(json.dumps(value, sort_keys=True) for value in values)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SessionStateManager]:
    with SessionStateManager(tmp_path / "workspace", "s1") as opened:
        for number in range(6):
            status = ("active", "done")[number % 2]
            opened.set(("tasks", f"t{number}"), {"id": number, "status": status})
        opened.set("agents.a1", {"pid": 1, "files": [{"pid": 2}]})
        yield opened


def test_a_result_is_kept_until_what_it_was_read_from_is_written(
    state: SessionStateManager,
) -> None:
    queries = QueryAPI(state)
    changes: list[tuple[Callable[[], object], str]] = [
        (lambda: None, "walk"),
        (lambda: None, "cache"),
        (lambda: state.set("agents.a1.pid", 7), "cache"),
        (lambda: state.set("tasks.t1.status", "active"), "index"),
        (lambda: state.delete("agents"), "cache"),
        (lambda: state.merge("tasks", {"t9": {"id": 9, "status": "active"}}), "index"),
        (lambda: state.set("$", {"tasks": {}}), "index"),
    ]
    for change, plan in changes:
        change()
        assert queries.explain(ACTIVE).plan == plan
        assert queries.query(ACTIVE) == [
            task["id"] for task in state.get("tasks").values() if task["status"] == "active"
        ]


def test_filters_that_read_elsewhere_are_written_there_too(state: SessionStateManager) -> None:
    queries = QueryAPI(state)
    state.set("wanted", {"status": "done"})
    path = "$.tasks[?@.status == $.wanted.status].id"
    assert queries.query(path) == [1, 3, 5]
    state.set("wanted.status", "active")
    assert queries.query(path) == [0, 2, 4]


def test_indexes_follow_each_kind_of_write(state: SessionStateManager) -> None:
    queries = QueryAPI(state, cache_bytes=0)

    def found() -> tuple[list[Any], list[Any]]:
        return queries.query(ACTIVE), queries.query("$..pid")

    assert found() == ([0, 2, 4], [1, 2])
    assert found() == ([0, 2, 4], [1, 2])
    assert [queries.explain(path).plan for path in (ACTIVE, "$..pid")] == ["index", "names"]
    state.set("tasks.t1.status", "active")
    state.set("agents.a1.pid", 3)
    assert found() == ([0, 1, 2, 4], [3, 2])
    state.delete("tasks.t0")
    state.set("agents.a0", {"pid": 9})
    assert found() == ([1, 2, 4], [9, 3, 2])
    state.set("tasks.t2", "no object")
    state.set("pid", 0)
    assert found() == ([1, 4], [0, 9, 3, 2])
    state.set("tasks", {"x": {"id": 5, "status": "active"}})
    state.delete("agents.a1.files")
    assert found() == ([5], [0, 9, 3])
    state.delete("tasks")
    state.delete("agents")
    assert found() == ([], [0])


def test_the_writes_of_another_process_are_seen(
    state: SessionStateManager, tmp_path: Path, start_python: Start
) -> None:
    queries = QueryAPI(state)
    for _ in range(3):
        assert queries.query(ACTIVE) == [0, 2, 4]
    process = start_python(
        "import sys\nfrom orchwatch.runtime.session_state import SessionStateManager\n"
        "with SessionStateManager(sys.argv[1], 's1') as state:\n"
        "    state.set('tasks.t5.status', 'active'); state.delete('tasks.t0')\n",
        tmp_path / "workspace",
    )
    assert process.wait(LIMIT_S) == 0
    assert queries.query(ACTIVE) == [2, 4, 5]


def test_more_changes_than_are_kept_are_caught_up_with(
    state: SessionStateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = QueryAPI(state)
    assert queries.query("$.tasks.t1.id") == [1]
    monkeypatch.setattr("orchwatch.runtime.state_changes._MAX_MEMBERS", 3)
    for number in range(5):
        state.set(("tasks", f"t{number}", "id"), -number)
    assert queries.query("$.tasks[*].id") == [0, -1, -2, -3, -4, 5]


def test_what_a_transaction_takes_back_is_never_an_answer(state: SessionStateManager) -> None:
    queries = QueryAPI(state)
    assert queries.query("$.tasks.t1.id") == [1]
    with suppress(ZeroDivisionError), state.transaction() as transaction:
        transaction.set("tasks.t1.id", 7)
        assert queries.query("$.tasks.t1.id") == [7]
        transaction.set("tasks.t1.id", 1 / 0)
    assert queries.query("$.tasks.t1.id") == [1]
    state.set("other", 1)  # has the version that the transaction had
    assert queries.query("$.tasks.t1.id") == [1]


def test_a_query_in_a_transaction_waits_for_no_query_beside_it(
    state: SessionStateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = QueryAPI(state)
    beside, follow = threading.Event(), Mirror.follow

    def followed(self: Mirror) -> list[tuple[str, ...]]:
        beside.set()
        return follow(self)

    monkeypatch.setattr(Mirror, "follow", followed)
    found = []
    thread = threading.Thread(target=lambda: found.extend(queries.query("$.tasks.t1.id")))
    with state.transaction() as transaction:
        transaction.set("tasks.t1.id", 7)
        thread.start()
        assert beside.wait(LIMIT_S)  # holds the lock of the queries, and waits for this transaction
        assert queries.query("$.tasks.t1.id") == [7]
        assert queries.explain("$.tasks.t1.id").plan == "walk"
    thread.join()
    assert found == [7]


def test_an_answer_is_the_callers_to_change(state: SessionStateManager) -> None:
    queries = QueryAPI(state)
    for _ in range(3):
        (agent,) = queries.query("$.agents.a1")
        assert agent == {"pid": 1, "files": [{"pid": 2}]}
        agent["files"][0]["pid"] = 99
        agent["files"].append(1)
        queries.query("$.tasks").append(1)


def test_the_cache_stays_within_its_bytes(state: SessionStateManager) -> None:
    queries = QueryAPI(state, cache_bytes=2000)
    for _ in range(2):
        for number in range(6):
            assert queries.query(f"$.tasks.t{number}.id") == [number]
    assert 0 < queries.cache.size_bytes <= 2000
    assert queries.cache.evictions > 0
    assert queries.cache.hits == 0  # each comes back after it has had to go
    queries.query("$.tasks.t5.id")
    assert queries.cache.hits == 1
    state.set("large", "x" * 5000)
    assert queries.query("$.large") == ["x" * 5000]
    assert queries.cache.entries > 0  # what fits nowhere displaces nothing


def test_a_memory_manager_can_trim_the_cache(state: SessionStateManager) -> None:
    queries: Cache = QueryAPI(state)
    assert isinstance(queries, QueryAPI)
    for number in range(6):
        queries.query(f"$.tasks.t{number}.id")
    half = queries.size_bytes // 2
    queries.trim(half)
    assert 0 < queries.size_bytes <= half
    queries.trim(0)
    assert queries.size_bytes == 0
    assert queries.query("$.tasks.t1.id") == [1]


def test_several_paths_are_answered_at_one_moment(state: SessionStateManager) -> None:
    queries = QueryAPI(state)
    assert queries.bulk_query([ACTIVE, "$.agents.*.pid", ACTIVE]) == {
        ACTIVE: [0, 2, 4],
        "$.agents.*.pid": [1],
    }
    assert queries.bulk_query([]) == {}
    with pytest.raises(QueryError, match="'nothing' is not JSONPath"):
        queries.bulk_query([ACTIVE, "nothing"])


def test_explain_says_how_a_query_is_answered_and_what_it_costs(
    state: SessionStateManager,
) -> None:
    queries = QueryAPI(state, cache_bytes=0)
    first, second = queries.explain(ACTIVE), queries.explain(ACTIVE)
    assert (first.plan, first.examined, first.results) == ("walk", 1 + 6 + 3, 3)
    assert (second.plan, second.index, second.results) == ("index", "$.tasks.*.status", 3)
    assert second.examined == 3 + 3
    assert queries.explain("$..pid").index == "$..pid"
    library = queries.explain("$.tasks[?length(@.status) == 4].id")
    assert (library.plan, library.examined, library.results) == ("library", None, 3)
    assert library.took_s > 0


def test_what_the_cache_does_becomes_metrics(state: SessionStateManager) -> None:
    with capture() as captured:
        queries = QueryAPI(state)
        for _ in range(3):
            queries.query(ACTIVE)
        del queries
    counted: dict[str, float] = {}
    for counter in captured.counters:
        counted[counter.name] = counted.get(counter.name, 0) + counter.value
    assert counted == {"orchestration.state.cache.hits": 2, "orchestration.state.cache.misses": 1}


@pytest.mark.parametrize(
    "path",
    [
        7,
        None,
        "$.a\n[",
        "$[?match(@.a, 1",
        "$[" * 3000,
        "$" + "[?@" * 300,
        "$[9" + "9" * 5000 + "]",
    ],
)
def test_whatever_is_no_jsonpath_is_one_line(state: SessionStateManager, path: Any) -> None:
    with pytest.raises(QueryError) as told:
        QueryAPI(state).query(path)
    assert len(str(told.value).splitlines()) == 1


def test_values_too_deep_for_a_walk_are_one_line(state: SessionStateManager) -> None:
    deep: Any = 1
    for _ in range(700):
        deep = [deep]
    state.set("deep", deep)
    answered = 0
    for path in ("$..x", "$.deep", "$..[?count(@.*) > 7]"):
        with suppress(QueryError):
            QueryAPI(state).query(path)
            answered += 1
    assert answered < 3
