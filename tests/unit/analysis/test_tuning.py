"""The log of decisions, and which of them make the settings what they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchwatch.analysis import comparison, tuning
from orchwatch.analysis.comparison import Measurement
from orchwatch.analysis.tuning import Decision
from orchwatch.runtime.settings import Tuned
from orchwatch.targets import target_table
from orchwatch.targets.knobs import Settings

if TYPE_CHECKING:
    from pathlib import Path


def _measured(seconds: float) -> list[Measurement]:
    return [Measurement(operation="o", component="c", samples_s=(seconds,) * 50)]


CHANGES = tuple(comparison.compare(_measured(0.002), _measured(0.001), target_table.comparison()))
KEPT = Decision(
    number=1,
    at="2026-01-02T03:04:05.678Z",
    decision="kept",
    knob="cache_bytes",
    before=1000,
    after=2000,
    why="o is faster",
    operations=CHANGES,
    replaced=Tuned(1000, None),
)


def test_a_decision_is_read_as_it_was_written_and_other_lines_are_counted(home: Path) -> None:
    tuning.append(home, KEPT)
    with (home / tuning.LOG_FILE).open("a") as file:
        file.write('{"number": 2}\n[1]\n{"torn')
    later = replace(KEPT, number=2, decision="undone", operations=(), replaced=None)
    tuning.append(home, later)
    assert tuning.read(home) == tuning.Log((KEPT, later), 3)


def test_a_value_that_no_knob_may_have_is_no_decision(home: Path) -> None:
    tuning.append(home, replace(KEPT, before=-1))
    tuning.append(home, replace(KEPT, knob="speed"))
    assert tuning.read(home) == tuning.Log((), 2)


def test_in_effect_is_the_newest_that_the_settings_still_show() -> None:
    second = replace(KEPT, number=2, before=2000, after=3000)
    undone = replace(KEPT, number=3, decision="undone", after=9)
    log = tuning.Log((KEPT, second, undone))
    assert log.in_effect(Settings(cache_bytes=3000)) == [second]
    assert log.in_effect(Settings(cache_bytes=2000)) == []
    back = replace(KEPT, number=4, decision="taken back", of=2, operations=())
    log = tuning.Log((KEPT, second, undone, back))
    assert log.in_effect(Settings(cache_bytes=2000)) == [KEPT]


def test_faster_and_slower_are_those_beyond_doubt() -> None:
    assert tuning.faster(CHANGES) == {("o", "c")}
    assert tuning.slower(CHANGES) == []
    little = comparison.compare(_measured(0.001), _measured(0.00105), target_table.comparison())
    assert little[0].verdict == "stable"
    assert tuning.slower(little) == ["o"]
    same = comparison.compare(_measured(0.001), _measured(0.001), target_table.comparison())
    assert not tuning.faster(same)
    assert not tuning.slower(same)


def test_what_decides_is_shown() -> None:
    gained, lost = CHANGES[0], replace(CHANGES[0], operation="p", change=0.3, low=0.2, high=0.4)
    assert replace(KEPT, operations=(gained,)).deciding == gained
    assert replace(KEPT, decision="undone", operations=(gained, lost)).deciding == lost
    assert replace(KEPT, operations=()).deciding is None
