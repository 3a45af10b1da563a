from __future__ import annotations

import pytest

from orchwatch.agents.sessions import places
from orchwatch.agents.sessions.entities import Session, Turn


def opened(prompt_id: str, start_ns: int, last_ns: int, *, ended: bool) -> Turn:
    ended_ns = last_ns if ended else 0
    return Turn(prompt_id=prompt_id, start_ns=start_ns, last_ns=last_ns, ended_ns=ended_ns)


@pytest.mark.parametrize(
    ("at_ns", "expected"),
    [
        (5, None),  # before all of them
        (50, "long"),
        (250, "short"),  # both ran: the later one
        (350, "long"),  # the later one has ended, the earlier one ran on
        (950, "short"),  # neither ran: the last one that had begun
        (1050, "last"),
    ],
)
@pytest.mark.parametrize("written", ["none", "one", "both"])
def test_what_nothing_names_is_of_a_turn_that_ran_then(
    at_ns: int, expected: str | None, written: str
) -> None:
    session = Session(session_id="s")
    turns = [opened("long", 10, 900, ended=True), opened("short", 200, 300, ended=True)]
    if written == "none":
        session.turns = {turn.prompt_id: turn for turn in turns}
    elif written == "one":
        session.closed["short"] = [200, 300]
        session.turns["long"] = turns[0]
    else:
        session.closed |= {"long": [10, 900], "short": [200, 300]}
    session.turns["last"] = opened("last", 1000, 1100, ended=False)
    assert places.turn_at(session, at_ns) == expected


def test_a_turn_whose_end_is_unknown_may_still_run() -> None:
    session = Session(session_id="s")
    session.closed["long"] = [10, 900]
    session.turns["open"] = opened("open", 200, 300, ended=False)
    assert places.turn_at(session, 800) == "open"
