"""The same answers with and without a cache and indexes, whatever is written in between."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import jsonpath_rfc9535
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchwatch.runtime import single_query
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError

# Few, so that writes and paths meet.
NAMES = st.sampled_from(["a", "a", "a", "b", "b", "x.y", "", "\x1f", "it's"])
SCALARS = st.sampled_from([None, True, 0, 1, 1, 1.0, 2.5, "", "done", "done", "1", "é"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
WRITES = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("merge"), KEYS, st.dictionaries(NAMES, VALUES, max_size=3)),
    st.tuples(st.just("delete"), KEYS | st.just(()), st.none()),
    st.tuples(st.just("set"), st.just(()), st.dictionaries(NAMES, VALUES, max_size=4)),
    st.tuples(st.just("rolled back"), KEYS, VALUES),
)


def _quoted(name: str) -> str:
    escaped = "".join(f"\\u{ord(c):04x}" if c < " " else c for c in name)
    return f"['{escaped}']".replace("it's", "it\\'s")


LITERALS = SCALARS.map(json.dumps)
MEMBERS = st.lists(NAMES, max_size=2).map(lambda names: "@" + "".join(map(_quoted, names)))
COMPARISONS = st.builds(
    "{} {} {}".format, MEMBERS, st.sampled_from(["==", "!=", "<", ">="]), LITERALS
)
TESTS = st.one_of(
    COMPARISONS,
    MEMBERS.filter(lambda member: member != "@"),
    st.builds("{} == $.tasks.status".format, MEMBERS),
    st.builds("count(@{}) > 1".format, st.sampled_from([".*", "..*"])),
)
FILTERS = st.one_of(
    TESTS,
    st.builds("!({})".format, TESTS),
    st.builds("{} && {}".format, COMPARISONS, TESTS),
    st.builds("{} || {}".format, TESTS, TESTS),
).map("[?{}]".format)
SELECTORS = NAMES.map(_quoted) | st.sampled_from(["[*]", "[0]", "[-1]", "[0:2]"]) | FILTERS
SEGMENTS = SELECTORS | SELECTORS.map("..{}".format)
PATHS = st.builds(
    "${}{}{}".format,
    st.lists(NAMES.map(_quoted), max_size=2).map("".join),
    FILTERS | NAMES.map(_quoted).map("..{}".format) | SEGMENTS,
    st.lists(SEGMENTS, max_size=1).map("".join),
)


def _write(state: SessionStateManager, kind: str, keys: tuple[str, ...], value: Any) -> None:
    try:
        if kind == "set":
            state.set(keys, value)
        elif kind == "merge":
            state.merge(keys, value)
        elif kind == "delete":
            state.delete(keys)
        else:
            with state.transaction() as transaction:
                transaction.set(keys, value)
                transaction.set(keys, 1 / 0)
    except (StateError, ZeroDivisionError):
        pass  # what lies above is no object, or it is taken back: nothing was written


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    writes=st.lists(WRITES, min_size=1, max_size=6),
    paths=st.lists(PATHS, min_size=1, max_size=4),
    whose=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_every_plan_gives_what_the_library_gives(
    writes: list[tuple[str, tuple[str, ...], Any]], paths: list[str], whose: list[bool]
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        SessionStateManager(Path(directory), "s") as mine,
        SessionStateManager(Path(directory), "s") as others,
    ):
        asked = {
            "all": QueryAPI(mine),
            "small cache": QueryAPI(mine, cache_bytes=1200),
            "no cache": QueryAPI(mine, cache_bytes=0),
            "no indexes": QueryAPI(mine, optimise=False),
            "neither": QueryAPI(mine, cache_bytes=0, optimise=False),
        }
        for (kind, keys, value), is_mine in zip(writes, whose, strict=False):
            _write(mine if is_mine else others, kind, keys, value)
            document = mine.document
            for path in paths:
                wanted = json.dumps(list(jsonpath_rfc9535.find(path, document).values()))
                for name, queries in asked.items():
                    for _ in range(2):
                        found = queries.query(path)
                        assert json.dumps(found) == wanted, f"{path} with {name}"
                _version, alone = single_query.answer(str(mine.path), path)
                assert json.dumps(alone) == wanted, f"{path} by a process of its own"
            bulk = asked["all"].bulk_query(paths)
            assert bulk == {path: asked["neither"].query(path) for path in paths}
