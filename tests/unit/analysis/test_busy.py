from __future__ import annotations

import random

import pytest

from orchwatch.analysis import busy
from orchwatch.analysis.busy import Interval, Kind

LENGTH = 200
KINDS: tuple[Kind, ...] = ("work", "turn", "waiting", "failed", "alive")


def by_ticking(intervals: list[Interval]) -> tuple[int, int, int, int]:
    """Busy, useful, any and parallel time, looked up for each tick of a clock."""
    agents = sorted({(interval.session_id, interval.agent) for interval in intervals})
    busy_ns = useful_ns = any_ns = parallel_ns = 0
    for tick in range(LENGTH):
        number = 0
        for agent in agents:
            kinds = {
                interval.kind
                for interval in intervals
                if (interval.session_id, interval.agent) == agent
                and interval.start_ns <= tick < interval.end_ns
            }
            is_busy = "work" in kinds or ("turn" in kinds and "waiting" not in kinds)
            number += is_busy
            useful_ns += is_busy and "failed" not in kinds
        busy_ns += number
        any_ns += number > 0
        parallel_ns += number > 1
    return busy_ns, useful_ns, any_ns, parallel_ns


@pytest.mark.parametrize("seed", range(50))
def test_the_sweep_agrees_with_a_look_at_each_tick(seed: int) -> None:
    choices = random.Random(seed)
    intervals = []
    for _ in range(choices.randrange(1, 40)):
        start, end = sorted(choices.choices(range(LENGTH), k=2))
        kind = choices.choice(KINDS)
        intervals.append(Interval("s", choices.choice("abcd"), kind, start, end))
    agents = busy.agents(intervals)
    assert (
        sum(agent.busy_ns for agent in agents),
        sum(agent.useful_ns for agent in agents),
        *busy.any_and_parallel_ns(agents),
    ) == by_ticking(intervals)


def test_without_agents_no_time_is_busy() -> None:
    assert busy.agents([]) == []
    assert busy.any_and_parallel_ns([]) == (0, 0)


def test_pieces_that_touch_are_one() -> None:
    (agent,) = busy.agents(
        [Interval("s", "a", "work", 0, 5), Interval("s", "a", "failed", 0, 5),
         Interval("s", "a", "work", 5, 9), Interval("s", "a", "alive", 20, 20)]
    )  # fmt: skip
    assert agent == busy.Agent(session_id="s", available_ns=20, busy=((0, 9),), useful_ns=4)
