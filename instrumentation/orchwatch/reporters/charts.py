"""Small charts as inline SVG, drawn by classes alone: a page's policy allows no style in them.

They are stretched to their figure's width, so that nothing in them is text: what stands along the
axis of time is said below.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchwatch.analysis.forecasts import Point

_WIDTH, _HEIGHT = 480, 120
_EDGE = 6
_ABOVE = 1.1


def line(
    past: Sequence[tuple[int, float]],
    words: str,
    *,
    target: float | None = None,
    points: Sequence[Point] = (),
    gap: int = 0,
    reach: tuple[int, int],
) -> str:
    """Values over time from 0 on, the target as a line, and what is expected as bands.

    Args:
        past: When, ascending, and how much; at least one.
        words: What it shows, for people who cannot see it.
        target: Drawn where it is not far above all else.
        points: What is expected.
        gap: Values farther apart than this are not joined.
        reach: Where the axis of time begins and ends, in the unit of `past`.
    """
    first, last = reach
    highest = max([value for _, value in past] + [point.high_95 for point in points])
    with_target = target is not None and target < highest * 4
    top = max(highest, target if with_target and target is not None else 0.0) * _ABOVE or 1.0

    def across(at_ns: int) -> float:
        share = (at_ns - first) / max(last - first, 1)
        return _EDGE + share * (_WIDTH - 2 * _EDGE)

    def up(value: float) -> float:
        return _HEIGHT - _EDGE - value / top * (_HEIGHT - 2 * _EDGE)

    drawn = [f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{up(0):.1f}" y2="{up(0):.1f}"/>']
    if points:
        for low, high in (("low_95", "high_95"), ("low_80", "high_80")):
            drawn.append(_band(points, low, high, across, up))
        middle = " ".join(f"{across(one.at_ns):.1f},{up(one.middle):.1f}" for one in points)
        drawn.append(f'<polyline class="middle" points="{middle}"/>')
    if with_target and target is not None:
        y = f"{up(target):.1f}"
        drawn.append(f'<line class="target" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
    for piece in _pieces(past, gap):
        dots = " ".join(f"{across(at_ns):.1f},{up(value):.1f}" for at_ns, value in piece)
        if len(piece) > 1:
            drawn.append(f'<polyline class="seen" points="{dots}"/>')
        else:
            x, y = dots.split(",")
            drawn.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2.5"/>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{html.escape(words)}">{"".join(drawn)}</svg>'
    )


def _pieces(past: Sequence[tuple[int, float]], gap: int) -> list[list[tuple[int, float]]]:
    pieces: list[list[tuple[int, float]]] = []
    for one in past:
        if pieces and (not gap or one[0] - pieces[-1][-1][0] <= gap):
            pieces[-1].append(one)
        else:
            pieces.append([one])
    return pieces


def _band(
    points: Sequence[Point],
    low: str,
    high: str,
    across: Callable[[int], float],
    up: Callable[[float], float],
) -> str:
    there = [(across(one.at_ns), up(getattr(one, high))) for one in points]
    back = [(across(one.at_ns), up(getattr(one, low))) for one in reversed(points)]
    dots = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*there, *back))
    return f'<polygon class="band" points="{dots}"/>'
