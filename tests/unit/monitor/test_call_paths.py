from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis.flame import Flame, Frame
from orchwatch.monitor import call_paths
from orchwatch.monitor.call_paths import (
    ALL,
    IDLE_NS,
    MAX_PATHS,
    MAX_SERVICES,
    OTHER_SERVICE,
    REST,
    CallPaths,
    Path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

S = 1_000_000_000
NOW_NS = 1_795_996_619 * S


def graph(*stacks: tuple[str, int]) -> Flame:
    """A flame graph out of folded stacks, e.g. `a;b`, and what each took of its own."""
    frames: list[Frame] = []
    places: dict[tuple[str, ...], int] = {}
    for stack, own_ns in stacks:
        path: tuple[str, ...] = ()
        for name in stack.split(";"):
            parent = places.get(path)
            path = (*path, name)
            if path not in places:
                places[path] = len(frames)
                frames.append(Frame(name=name, kind="other", parent=parent, level=len(path) - 1))
        frames[places[path]].self_ns += own_ns
    return Flame(frames=frames)


def own(paths: CallPaths, service: str = "s") -> dict[str, int]:
    return {one.text: one.told_ns for one in paths.told() if one.service == service}


def total(paths: CallPaths, service: str = "s") -> dict[str, int]:
    return {one.text: one.total_ns for one in paths.told() if one.service == service}


def assert_adds_up(told: Iterable[Path]) -> None:
    told = list(told)
    for one in told:
        below = sum(other.total_ns for other in one.below.values())
        assert one.total_ns == one.told_ns + one.gone_ns + below
    for service in {one.service for one in told}:
        of_service = [one for one in told if one.service == service]
        (top,) = (one for one in of_service if one.caller is None)
        assert top.total_ns == sum(one.told_ns + one.gone_ns for one in of_service)


def test_own_times_of_a_path_add_up_to_its_total_and_all_to_that_of_the_service() -> None:
    paths = CallPaths()
    paths.add("s", graph(("turn", 1), ("turn;Bash", 20), ("turn;Bash;hook", 300)), NOW_NS)
    paths.add("s", graph(("turn;Read", 4000), ("turn;Bash", 50_000)), NOW_NS)
    paths.add("other", graph(("turn", 7)), NOW_NS)
    assert own(paths) == {
        ALL: 0,
        "turn": 1,
        "turn;Bash": 50_020,
        "turn;Bash;hook": 300,
        "turn;Read": 4000,
    }
    assert total(paths) == {
        ALL: 54_321,
        "turn": 54_321,
        "turn;Bash": 50_320,
        "turn;Bash;hook": 300,
        "turn;Read": 4000,
    }
    assert total(paths, "other") == {ALL: 7, "turn": 7}
    assert_adds_up(paths.told())


def test_beyond_the_bound_the_rest_is_one_path_and_nothing_is_left_out() -> None:
    paths = CallPaths()
    for number in range(2 * MAX_PATHS):
        paths.add("s", graph((f"turn;tool {number}", 1), (f"turn;tool {number};x", 1)), NOW_NS)
    told = paths.told()
    # Those counted apart, the one above all, and the rest.
    assert len(told) == MAX_PATHS + 2
    assert total(paths)[ALL] == 4 * MAX_PATHS
    assert own(paths)[REST] == 4 * MAX_PATHS - (MAX_PATHS - 1)
    assert_adds_up(told)
    # Who was counted is counted on.
    paths.add("s", graph(("turn;tool 0", 5)), NOW_NS)
    assert own(paths)["turn;tool 0"] == 6
    assert len(CallPaths(json.loads(json.dumps(paths.save()))).told()) == len(told)


def test_a_path_that_was_not_called_for_a_day_makes_room_and_its_time_stays_in_its_callers() -> (
    None
):
    paths = CallPaths()
    paths.add("s", graph(("turn;old;deep", 9)), NOW_NS)
    paths.add("s", graph(("turn;old", 1)), NOW_NS)
    for number in range(MAX_PATHS - 3):
        paths.add("s", graph((f"turn;tool {number}", 1)), NOW_NS + S)
    before = total(paths)
    paths.add("s", graph(("turn;new", 5)), NOW_NS + IDLE_NS - 1)
    assert own(paths)[REST] == 5
    paths.add("s", graph(("turn;new", 5)), NOW_NS + IDLE_NS)
    found = total(paths)
    assert found["turn;new"] == 5
    assert "turn;old;deep" not in found
    assert found["turn;old"] == before["turn;old"] == 10
    assert found[ALL] == before[ALL] + 10
    assert_adds_up(paths.told())
    again = CallPaths(json.loads(json.dumps(paths.save())))
    assert total(again) == found


def test_services_are_bounded_too() -> None:
    paths = CallPaths()
    for number in range(2 * MAX_SERVICES):
        paths.add(f"service {number}", graph(("a", 1)), NOW_NS)
    assert len({one.service for one in paths.told()}) == MAX_SERVICES + 1
    assert total(paths, OTHER_SERVICE)[ALL] == MAX_SERVICES


def test_what_is_taken_back_makes_no_counter_fall() -> None:
    paths = CallPaths()
    paths.add("s", graph(("turn", 10)), NOW_NS)
    assert total(paths) == {ALL: 10, "turn": 10}
    # A call that came late took four of the ten.
    paths.add("s", graph(("turn", 6), ("turn;late", 4)), NOW_NS)
    paths.add("s", graph(("turn", 10)), NOW_NS, sign=-1)
    assert own(paths) == {ALL: 0, "turn": 10, "turn;late": 4}
    assert_adds_up(paths.told())
    again = CallPaths(json.loads(json.dumps(paths.save())))
    for one in (paths, again):
        # Only what goes beyond counts.
        one.add("s", graph(("turn", 3)), NOW_NS)
        assert own(one)["turn"] == 10
        one.add("s", graph(("turn", 3)), NOW_NS)
        assert own(one)["turn"] == 12


def test_sorted_by_its_key_a_caller_comes_first_and_is_followed_by_all_below_it() -> None:
    paths = CallPaths()
    names = ("Bash", "bash", "é", "a b", "-", "0", "other paths", "x" * 300)
    for one in names:
        for other in names:
            paths.add("s", graph((f"{one};{other};{one}", 1)), NOW_NS)
    told = sorted(paths.told(), key=lambda one: one.order)
    assert told[0].caller is None
    assert all(one.order.isalpha() and one.order.islower() for one in told)
    assert len({one.order for one in told}) == len(told)
    open_ones: list[Path] = []
    for path in told:
        del open_ones[path.level :]
        assert path.caller is (open_ones[-1] if open_ones else None)
        open_ones.append(path)


@pytest.mark.parametrize("name", ["a;b", "\x1b[2J", "\u202eabc", "\ud800", "n" * 5000, "", "\n"])
def test_a_name_from_anywhere_is_a_short_label_on_one_line(name: str) -> None:
    paths = CallPaths()
    paths.add("s", Flame(frames=[Frame(name=name, kind="tool", parent=None, level=0)]), NOW_NS)
    _, one = paths.told()
    assert ";" not in one.name
    assert len(one.name) <= 80
    assert one.name == "" or one.name.isprintable()
    one.text.encode()


def test_a_very_long_path_is_among_the_rest() -> None:
    paths = CallPaths()
    paths.add("s", graph((";".join("n" * 70 for _ in range(50)), 3)), NOW_NS)
    told = paths.told()
    assert max(len(one.text) for one in told) <= call_paths._MAX_LENGTH
    assert own(paths)[REST] == 3


def test_frames_of_one_name_and_different_kinds_are_different_paths() -> None:
    paths = CallPaths()
    frames = [Frame(name="x", kind=kind, parent=None, level=0, self_ns=1) for kind in ("tool", "a")]
    paths.add("s", Flame(frames=frames), NOW_NS)
    one, other = paths.told()[1:]
    assert one.order != other.order
