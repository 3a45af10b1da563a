from __future__ import annotations

import io

import pytest

from orchwatch.analysis import critical_path
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.reporters import waterfall
from orchwatch.store.outlines import Outline

MS = 10**6


def shown(spans: list[Outline], columns: int = 80) -> list[str]:
    file = io.StringIO()
    tree = SpanTree(sorted(spans, key=lambda span: (span.start_ns, -span.end_ns, span.span_id)))
    waterfall.render(tree, critical_path.walked(tree), file, columns)
    return file.getvalue().splitlines()


def span(number: int, caller: int | None, name: str, time: tuple[int, int]) -> Outline:
    start, end = time
    return Outline(
        *("ab" * 16, number, caller, name, None, start * MS, end * MS, 1, None, "s", None, None)
    )


def test_each_span_is_a_bar_and_what_was_waited_for_is_full() -> None:
    lines = shown(
        [
            span(1, None, "turn", (0, 400)),
            span(2, 1, "execute_tool Bash", (0, 200)),
            span(3, 1, "beside", (0, 100))._replace(status=2, error_type="Oops", agent="w"),
        ],
        columns=51,
    )
    assert " ".join(lines[:2]) == f"trace {'ab' * 16}, 3 spans, 400ms, 1970-01-01 00:00:00 UTC"
    bars = {line.split()[0]: line[len("  beside [w]  ") :] for line in lines[2:5]}
    room = len(bars["turn"].split("  ")[0])
    assert bars["turn"] == "░" * (room // 2) + "█" * (room // 2) + "  400ms"
    assert bars["Bash"] == "█" * (room // 2) + " " * (room // 2) + "  200ms"
    assert bars["beside"] == "░" * (room // 4) + " " * (room - room // 4) + "  100ms  Oops"


def test_a_hook_whose_time_is_unknown_has_a_dash() -> None:
    hook = span(2, 1, "hook.process", (100, 100))
    lines = shown([span(1, None, "turn", (0, 400)), hook])
    assert lines[2].split()[-1] == "-"
    lines = shown([span(1, None, "turn", (0, 400)), hook._replace(operation="hook.process")])
    assert lines[2].split()[-1] == "0µs"


def test_of_many_spans_the_longest_are_shown_below_their_callers() -> None:
    spans = [span(1, None, "turn", (0, 10_000))]
    for number in range(500):
        start = number * 20
        spans.append(span(number + 2, 1, f"call {number}", (start, start + number % 19 + 1)))
    lines = shown(spans)
    assert len(lines) == 1 + 60 + 2
    assert lines[-2] == "… and 441 shorter spans; --format json has every one."
    assert max(map(len, lines)) <= 80


def test_a_deep_trace_is_shown_by_its_levels() -> None:
    lines = shown([span(n + 1, n or None, f"d{n}", (n, 9000 - n)) for n in range(3000)])
    assert len(lines) == 63
    assert "  (59) d59" in lines[60]
    assert max(map(len, lines)) <= 80


def test_odd_names_and_narrow_terminals_do_no_harm() -> None:
    name = "\x1b[2J" + "long" * 30
    for columns in (1, 40, 80, 500):
        lines = shown([span(1, None, name, (5, 5)), span(2, 1, "\n", (5, 5))], columns)
        assert all(line.isprintable() for line in lines)
        assert len(lines) <= 8


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 120])
def test_what_stands_above_and_below_the_bars_fits_the_terminal(columns: int) -> None:
    spans = [span(n + 1, n and 1, f"call {n}", (n, 90_000 - n)) for n in range(70)]
    lines = shown(spans, columns)
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert text.startswith(f"trace {'ab' * 16}, 70 spans, 1m30s, 1970-01-01 00:00:00 UTC ")
    assert "… and 10 shorter spans; --format json has every one." in text
    assert text.endswith("█ what the whole waited for ░ the rest of a span's time")
