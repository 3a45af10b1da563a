from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchwatch.runtime import state_paths
from orchwatch.runtime.state_paths import PathError


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("$", ()),
        ("$.a.b", ("a", "b")),
        ("a.b", ("a", "b")),
        ("a-b.c d", ("a-b", "c d")),
        ("$['a.b'].c", ("a.b", "c")),
        ("['a'][\"b\"]", ("a", "b")),
        ("$[''].a", ("", "a")),
        (r"$['it\'s']['\\']", ("it's", "\\")),
        (r"$['a\nb']", ("a\\nb",)),
        ("$['a]b']", ("a]b",)),
        (("a", "$.b"), ("a", "$.b")),
    ],
)
def test_a_path_is_its_names(path: str | tuple[str, ...], keys: tuple[str, ...]) -> None:
    assert state_paths.parse(path) == keys


NO_MEMBERS = ".a $a a..b a. $. $..a a[0] a[*] $.* a] a'b $['a $['a' $['a'b] $['a']b $[ $[] @.a $.a?"


@pytest.mark.parametrize("path", ["", r"['a\']", *NO_MEMBERS.split()])
def test_what_names_no_member_is_refused(path: str) -> None:
    with pytest.raises(PathError, match="names no member of the state"):
        state_paths.parse(path)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4).map(tuple))
def test_a_path_that_is_shown_names_the_same_member(keys: tuple[str, ...]) -> None:
    assert state_paths.parse(state_paths.shown(keys)) == keys
    assert state_paths.decode(state_paths.encode(keys)) == keys
