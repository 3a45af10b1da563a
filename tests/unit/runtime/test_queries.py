from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonpath_rfc9535
import pytest

from orchwatch.runtime.queries import QueryAPI, QueryError
from orchwatch.runtime.state import StateStore
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

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
def queries(tmp_path: Path) -> QueryAPI:
    store = StateStore(tmp_path / "session")
    store.document |= DOCUMENT
    return QueryAPI(store)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_selects_what_the_library_selects(queries: QueryAPI, path: str) -> None:
    assert queries.query(path) == jsonpath_rfc9535.find(path, DOCUMENT).values()


@pytest.mark.parametrize("path", ["", "tasks", "$.tasks[", "$.tasks[?@.status = 'x']", "$.a b"])
def test_what_is_no_jsonpath_gives_one_clear_line(queries: QueryAPI, path: str) -> None:
    with pytest.raises(QueryError, match="is not JSONPath") as e:
        queries.query(path)
    assert "\n" not in str(e.value)


def test_the_state_is_queried_as_it_is_now(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    queries = QueryAPI(store)
    assert queries.query("$.answer") == []
    store.document["answer"] = 42
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
