from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest

from orchwatch.recording import context
from orchwatch.recording.context import ROOT, Context

if TYPE_CHECKING:
    from collections.abc import Callable

    Lost = Callable[[], dict[str, int]]

pytestmark = pytest.mark.usefixtures("home")

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"


# The cases of the W3C test suite, https://github.com/w3c/trace-context/tree/main/test.
@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"01-{TRACE}-{SPAN}-01-",
        f" 00-{TRACE}-{SPAN}-01",
        f"\t00-{TRACE}-{SPAN}-01\t ",
    ],
)
def test_a_valid_traceparent_gives_its_ids(lost: Lost, value: str) -> None:
    assert context.parse_traceparent(value) == (TRACE, SPAN)
    assert lost() == {}


@pytest.mark.parametrize(
    "value",
    [
        "foo",
        "-",
        "---",
        f"00{TRACE}{SPAN}01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"0.-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{'A' * 32}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{'B' * 16}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-0.",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0G",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        "00-" * 100_000,
        f"00-{TRACE}-{SPAN}-01".encode(),
        5,
        ["00"],
    ],
)
def test_a_broken_traceparent_is_counted_and_ignored(lost: Lost, value: Any) -> None:
    assert context.parse_traceparent(value) == ("", "")
    assert lost() == {"bad_traceparent": 1}


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("a=1", {"a": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (" a = 1 ,\tb\t=\t2 ", {"a": "1", "b": "2"}),
        ("a=1;property;other=x,b=2", {"a": "1", "b": "2"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=%C3%A4%20%2C%3B%5C%22%25", {"a": 'ä ,;\\"%'}),
        ("a=%c3%a4", {"a": "ä"}),
        ("a=%zz%2", {"a": "%zz%2"}),
        ("a=%", {"a": "%"}),
        ("a=%FF%20", {"a": "\ufffd "}),
        ("a=1,a=2", {"a": "2"}),
        ("", {}),
        (",,", {}),
        ("!#$%&'*+-.^_`|~09azAZ=x", {"!#$%&'*+-.^_`|~09azAZ": "x"}),
    ],
)
def test_baggage_is_parsed(lost: Lost, value: str, entries: dict[str, str]) -> None:
    assert context.parse_baggage(value) == entries
    assert lost() == {}


@pytest.mark.parametrize(
    ("value", "entries", "broken"),
    [
        ("a", {}, 1),
        ("=1", {}, 1),
        ("a b=1,c=2", {"c": "2"}, 1),
        ("ä=1", {}, 1),
        ("a=1,b,c,d=4", {"a": "1", "d": "4"}, 2),
        (";p=1", {}, 1),
        ("a@b=1", {}, 1),
        (f"a={'x' * 8191}", {}, 1),
        (b"a=1", {}, 1),
        (7, {}, 1),
    ],
)
def test_broken_baggage_is_counted_and_the_rest_kept(
    lost: Lost, value: Any, entries: dict[str, str], broken: int
) -> None:
    assert context.parse_baggage(value) == entries
    assert lost() == {"bad_baggage": broken}


@pytest.mark.parametrize(
    "content",
    ["", "plain", "0f8fad5b-d9cb-469f-a165-70867728950e", "a b", "%41", ',;=\\"', "ä€😀", "\n\x00"],
)
def test_baggage_survives_a_round_trip(lost: Lost, content: str) -> None:
    value = context.format_baggage({"k": content, "l": "x"})
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    assert context.parse_baggage(value) == {"k": content, "l": "x"}
    assert lost() == {}


def test_escapes_are_those_of_the_standard_library() -> None:
    everything = "".join(map(chr, range(0x250))) + "€😀"
    value = context.format_baggage({"k": everything})
    assert unquote(value.removeprefix("k=")) == everything
    assert context.unescape(quote(everything, safe="")) == everything


def test_half_a_character_becomes_a_question_mark() -> None:
    assert context.parse_baggage(context.format_baggage({"k": "a\ud83db"})) == {"k": "a?b"}


def test_baggage_stays_within_its_limit_in_whole_entries(lost: Lost) -> None:
    value = context.format_baggage({f"k{number}": "x" * 1000 for number in range(20)})
    assert len(value) <= 8192
    assert context.parse_baggage(value) == {f"k{number}": "x" * 1000 for number in range(8)}
    assert lost() == {"bad_baggage": 1}


@pytest.mark.parametrize(
    "entries",
    [{"": "x"}, {"a b": "x"}, {1: "x"}, {"a": 1}, {"a": None}, {"a": b"x"}, {"ä": "x"}],
)
def test_what_no_header_can_carry_is_counted_and_left_out(lost: Lost, entries: Any) -> None:
    assert context.clean_baggage({**entries, "good": "y"}) == {"good": "y"}
    assert lost() == {"bad_baggage": 1}


def test_traceparent_is_formatted_as_sampled() -> None:
    assert context.format_traceparent(Context(TRACE, SPAN, {})) == f"00-{TRACE}-{SPAN}-01"


HERE = Context("a" * 32, "b" * 16, {"session.id": "s", "k": "v"})


@pytest.mark.parametrize(
    ("traceparent", "baggage", "expected"),
    [
        (None, None, ("a" * 32, {"session.id": "s", "k": "v"})),
        ("broken", None, ("a" * 32, {"session.id": "s", "k": "v"})),
        ("broken", "broken", ("a" * 32, {"session.id": "s", "k": "v"})),
        (f"00-{TRACE}-{SPAN}-01", None, (TRACE, {"session.id": "s", "k": "v"})),
        (f"00-{TRACE}-{SPAN}-01", "k=w", (TRACE, {"session.id": "s", "k": "w"})),
        ("broken", "k=w", ("a" * 32, {"session.id": "s", "k": "w"})),
        (None, "session.id=t", ("a" * 32, {"session.id": "t", "k": "v"})),
    ],
)
def test_what_headers_do_not_say_stays(
    traceparent: str | None, baggage: str | None, expected: tuple[str, dict[str, str]]
) -> None:
    found = context.parse(traceparent, baggage, HERE)
    assert (found.trace_id, found.baggage) == expected


def test_nothing_is_the_root() -> None:
    assert context.parse(None, None) is ROOT
    assert context.parse("broken", "broken") is ROOT


def test_identity_is_inherited_and_other_baggage_is_not() -> None:
    found = Context("", "", {"session.id": "s", "gen_ai.agent.name": "a", "other": "o"})
    assert found.inherited == {"session.id": "s", "gen_ai.agent.name": "a"}
    assert found.child("a" * 32, "b" * 16).inherited == found.inherited
    assert found.with_baggage({"session.id": "t"}).inherited["session.id"] == "t"
    assert found.inherited["session.id"] == "s"
