from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from orchwatch.analysis import flame, flame_diff
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.reporters import flame_files, flame_page, flame_table
from orchwatch.store.outlines import Outline

HOSTILE = (
    "a;b",
    "two\nlines 5",
    "</script><script>alert(1)</script>",
    "<!--",
    "<img src=x onerror=alert(1)>",
    "]]>\u2028\u2029",
    "\x1b[2J\x00\x07",
    "\u202eright",
    "\ud800lone",
    "&lt;&amp;",
    "@@DATA@@",
    "quote \" \\ '",
    " ",
    "",
    "日本" * 800,
    "__proto__",
)


def spans() -> list[Outline]:
    """A turn that calls each hostile name, which runs for one more nanosecond than the last."""
    found = [
        Outline("t" * 32, 1, None, "turn", None, 0, 10_000, 1, None, "s", None, None),
        Outline("t" * 32, 2, 1, "beside", None, 0, 5_000, 2, "E\n", "s", "w", None),
    ]
    at = 0
    for number, name in enumerate(HOSTILE):
        found.append(
            Outline(
                "t" * 32, number + 3, 1, name, None, at, at + number + 1, 1, None, "s", name, None
            )
        )
        at += number + 1
    return found


def written(write: Any, *arguments: Any) -> str:
    file = io.StringIO()
    write(*arguments, file)
    return file.getvalue()


def test_folded_stacks_are_a_line_each_and_add_up_to_all_own_times() -> None:
    graph = flame.of_spans(spans())
    lines = written(flame_files.folded, graph).splitlines()
    # As flamegraph.pl takes a line apart.
    parsed = [re.fullmatch(r"(.+)\s(\d+)", line) for line in lines]
    assert all(parsed)
    assert sum(int(match[2]) for match in parsed if match) == graph.own_ns
    assert all(line.isprintable() for line in lines)
    assert {match[1].count(";") for match in parsed if match} == {0, 1}
    assert any("a\\x3b b".replace(" ", "") in line for line in lines)


def test_two_are_folded_as_difffolded_writes_them() -> None:
    graph = flame.of_spans(spans())
    lines = written(flame_files.folded_diff, flame_diff.compare(graph, graph)).splitlines()
    for line in lines:
        match = re.fullmatch(r"(.+) (\d+) (\d+)", line)
        assert match is not None
        assert match[2] == match[3]


def test_speedscope_has_a_weight_for_each_stack_and_frames_that_are_there() -> None:
    graph = flame.of_spans(spans())
    found = json.loads(written(flame_files.speedscope, [("one", graph), ("two", graph)]))
    assert found["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert [profile["name"] for profile in found["profiles"]] == ["one", "two"]
    for profile in found["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert sum(profile["weights"]) == profile["endValue"] == graph.own_ns
        assert max(max(sample) for sample in profile["samples"]) < len(found["shared"]["frames"])
    assert all(frame["name"].isprintable() for frame in found["shared"]["frames"])


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_chrome_has_each_span_once_in_microseconds_and_a_name_for_each_thread(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flame_files, "_AT_ONCE", at_once)
    made = SpanTree(spans(), as_recorded=True)
    found = json.loads(written(flame_files.chrome, made, "title"))
    complete = [event for event in found["traceEvents"] if event["ph"] == "X"]
    named = [event for event in found["traceEvents"] if event["ph"] == "M"]
    assert len(complete) == len(made.spans)
    assert len({event["args"]["span_id"] for event in complete}) == len(complete)
    turn = next(event for event in complete if event["name"] == "turn")
    assert (turn["ts"], turn["dur"]) == (0, 10)
    threads = {event["tid"] for event in named if event["name"] == "thread_name"}
    assert {event["tid"] for event in complete} == threads
    for event in found["traceEvents"]:
        assert {"ph", "name", "pid", "tid"} <= event.keys()
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["name"].isprintable()
        assert event["name"]


class Tags(HTMLParser):
    """Every tag of a document, and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("compared", [False, True])
def test_no_name_becomes_markup_and_nothing_is_asked_of_a_network(compared: bool) -> None:
    def page(names: list[Outline]) -> str:
        graph = flame.of_spans(names)
        of = flame_page.Page(title="</title><b>" + HOSTILE[2], summary="<i>")
        if not compared:
            return flame_page.page(of, graph)
        diff = flame_diff.compare(graph, graph)
        return flame_page.page(of, diff.flame, diff.changes)

    harmless = [span._replace(name=f"n{number}") for number, span in enumerate(spans())]
    found, other = Tags(), Tags()
    text = page(spans())
    found.feed(text)
    other.feed(page(harmless))
    assert found.tags == other.tags
    assert not {"src", "href", "action", "onerror", "onclick", "style"} & found.attributes
    assert text.isascii()
    assert "http:" not in text
    assert "https:" not in text
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert not set("<>&") & set(data)
    frames = json.loads(data)
    assert sum(frame[4] for frame in frames["frames"]) == flame.of_spans(spans()).own_ns * (
        2 if compared else 1
    )


def test_a_terminal_shows_the_largest_frames_with_their_callers_in_80_columns() -> None:
    at = 0
    found = [Outline("t", 1, None, "turn", None, 0, 10**9, 1, None, "s", None, None)]
    for number in range(400):
        length = number * 10_000
        found.append(
            Outline(
                "t",
                number + 2,
                1,
                f"call {number}",
                None,
                at,
                at + length,
                1,
                None,
                "s",
                None,
                None,
            )
        )
        at += length
    text = written(flame_table.render, "title", flame.of_spans(found))
    lines = text.splitlines()
    assert len(lines) < 75
    assert max(map(len, lines)) <= 80
    assert lines[4].startswith("turn ")
    assert lines[5].startswith("  call 399 ")
    assert "… and 341 smaller frames." in text
    shown = written(flame_table.render, "title", flame.of_spans(spans()))
    assert all(line.isprintable() for line in shown.splitlines())


def test_two_are_shown_with_what_is_new_and_what_is_gone() -> None:
    def one(name: str, length: int) -> list[Outline]:
        turn = Outline("t", 1, None, "turn", None, 0, 100, 1, None, "s", None, None)
        return [turn, turn._replace(span_id=2, parent_span_id=1, name=name, end_ns=length)]

    graphs = [flame.of_spans(one("new", 40)), flame.of_spans(one("gone", 20))]
    text = written(flame_table.render_diff, "title", flame_diff.compare(*graphs))
    rows = {words[0]: words[1:] for line in text.splitlines()[4:7] if (words := line.split())}
    assert rows["new"] == ["0.04µs", "-", "+0.04µs", "1", "/", "0"]
    assert rows["gone"] == ["-", "0.02µs", "-0.02µs", "0", "/", "1"]
    assert rows["turn"][2] == "0s"
    nothing = flame.of_spans([one("x", 0)[0]._replace(end_ns=0)])
    assert "Nothing took any time" in written(flame_table.render, "title", nothing)
    diff = flame_diff.compare(nothing, nothing)
    assert "Nothing took any time" in written(flame_table.render_diff, "title", diff)
