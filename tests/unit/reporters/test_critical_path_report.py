from __future__ import annotations

import io
import random

import pytest

from orchwatch.analysis import critical_path
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.reporters import critical_path_report
from orchwatch.store.outlines import Outline


@pytest.mark.parametrize("seed", range(20))
def test_the_shares_that_are_shown_add_up_to_exactly_100_per_cent(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [
        draw.randrange(10 ** draw.randrange(1, 14)) + 1 for _ in range(draw.randrange(1, 60))
    ]
    parts = critical_path_report.percentages(lengths)
    assert sum(parts) == 10_000
    for part, length in zip(parts, lengths, strict=True):
        assert abs(part - length * 10_000 / sum(lengths)) < 1
    assert critical_path_report.percentages([0, 0]) == [0, 0]


def test_a_long_path_is_shown_in_few_lines() -> None:
    draw = random.Random(1)
    spans = [Outline("t", 1, None, "turn", None, 0, 10**12, 1, None, "s", None, None)]
    at = 0
    for number in range(2000):
        at += draw.randrange(10**8)
        end = at + draw.randrange(4 * 10**8)
        name = f"execute_tool {draw.choice('ABCDEFGHIJKLMNOPQRSTUVWXYZ')}"
        spans.append(Outline("t", number + 2, 1, name, None, at, end, 1, None, "s", None, None))
        at = end
    tree = SpanTree(spans)
    file = io.StringIO()
    critical_path_report.render(tree, critical_path.measure(tree), file)
    lines = file.getvalue().splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 100
    assert "… 15 other names" in file.getvalue()
    shares = [word for line in lines for word in line.split() if word.endswith("%")]
    assert sum(round(float(share[:-1]) * 100) for share in shares) == 10_000


def test_a_trace_of_moments_says_that_nothing_took_time() -> None:
    tree = SpanTree([Outline("t", 1, None, "mark", None, 5, 5, 1, None, None, None, None)])
    file = io.StringIO()
    critical_path_report.render(tree, critical_path.measure(tree), file)
    assert file.getvalue().endswith("Nothing took any time.\n")
