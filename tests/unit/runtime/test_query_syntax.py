from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonpath_rfc9535
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchwatch.runtime import query_syntax
from orchwatch.runtime.query_library import LibraryQuery

SUITE = Path(__file__).parents[2] / "data" / "jsonpath" / "cts.json"
CASES = json.loads(SUITE.read_text())["tests"]
# What paths are made of, right and wrong; put together at random, some are JSONPath.
SIGNS = ["$", "@", ".", "..", "*", "[", "]", "[?", "(", ")", "!", "&&", "||", "==", "!=", "<", ">="]
WORDS = [
    "a",
    "_b1",
    "'it'",
    '"é"',
    r"'a\'b'",
    "''",
    "0",
    "-1",
    "01",
    "-0",
    "1.50",
    "1e3",
    "true",
    " ",
]
PARTS = ["\n", ".a", "['a']", "@.a", "@.a.b", "@.a == 1", "count(@.*)", ","]
PIECES = st.sampled_from([*SIGNS, *WORDS, *PARTS])
TESTS = st.recursive(
    st.sampled_from(
        ["@.a", "@", "@['a'].b == 'x'", "@.a != null", "@.a<=-2.5", "@ == true", "@.a > 10", "@[0]"]
    ),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("!({})".format, inner),
        st.builds("{} && {}".format, inner, inner),
        st.builds("{}||{}".format, inner, inner),
    ),
    max_leaves=6,
)
SEGMENTS = st.one_of(
    st.sampled_from(
        [".a", "..a", ".*", "..*", "['a b']", '[ "a" ]', "[0]", "..[-1]", "[*]", "[0:1]"]
    ),
    TESTS.map("[?{}]".format),
    TESTS.map("..[? {} ]".format),
)


def is_understood_alike(path: str) -> bool:
    """Whether what is read here is what the library reads; True where nothing is."""
    found = query_syntax.parsed(path)
    return found is None or repr(found) == repr(LibraryQuery(path).segments)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_whatever_is_read_is_jsonpath_and_means_what_the_library_says(rest: str) -> None:
    for path in (rest, f"${rest}", f"$[?{rest}]"):
        assert is_understood_alike(path), path


@settings(max_examples=200, deadline=None)
@given(st.lists(SEGMENTS, max_size=4).map("".join))
def test_queries_mean_what_the_library_says(rest: str) -> None:
    assert is_understood_alike(f"${rest}"), rest


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_compliance_suite_is_read_as_the_library_reads_it(case: dict[str, Any]) -> None:
    if case.get("invalid_selector"):
        assert query_syntax.parsed(case["selector"]) is None
    else:
        assert is_understood_alike(case["selector"])


@pytest.mark.parametrize(
    "path",
    [
        "$",
        "$.tasks['task-7'].status",
        "$.tasks[?@.status == 'active'].id",
        '$.tasks[?@["agent"] == "a" && (@.tries > 1 || !@.done)]',
        "$..status",
        "$.agents[*].pid",
        "$.files[-1]",
        "$[?!(@.a == null || @.b >= -2.5)]",
    ],
)
def test_what_is_asked_most_needs_no_library(path: str) -> None:
    assert query_syntax.parsed(path) is not None


def test_a_filter_of_a_thousand_tests_is_left_to_the_library() -> None:
    assert query_syntax.parsed(f"$[?{' || '.join(['@.a'] * 1000)}]") is None
    assert query_syntax.parsed(f"$[?{'(' * 1000}@.a{')' * 1000}]") is None


def test_the_library_answers_what_is_not_read_here() -> None:
    query = LibraryQuery("$[0:2]")
    assert query.segments is None
    assert query.find([1, 2, 3]) == jsonpath_rfc9535.find("$[0:2]", [1, 2, 3]).values() == [1, 2]
