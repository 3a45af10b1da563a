"""Named baselines, and recorded operations held against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.analysis.test_benchmark_runs import RUN

from orchwatch.analysis import baselines
from orchwatch.analysis.baselines import BENCHMARK, Baseline
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from pathlib import Path

KEPT = Baseline(
    name="main", kind=BENCHMARK, side=baselines.of_run(RUN), saved="2026-11-30T12:00:00Z"
)


def test_a_baseline_is_read_as_it_was_saved_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = baselines.save(tmp_path, replace(KEPT, saved="earlier"))
    baselines.save(tmp_path, KEPT)
    assert baselines.load(tmp_path, "main") == KEPT
    baselines.save(tmp_path, replace(KEPT, name="1.4"))
    assert baselines.names(tmp_path) == ["1.4", "main"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "ä", "x" * 101, "-x", "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    for act in (
        lambda: baselines.load(tmp_path, name),
        lambda: baselines.save(tmp_path, replace(KEPT, name=name)),
    ):
        with pytest.raises(OrchwatchError, match="a name has letters, digits"):
            act()
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(OrchwatchError, match="baseline old: there is none; known: none"):
        baselines.load(tmp_path, "old")
    baselines.save(tmp_path, KEPT)
    with pytest.raises(OrchwatchError, match="known: main"):
        baselines.load(tmp_path, "old")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "main"}', "null"])
def test_a_damaged_one_is_named(tmp_path: Path, content: str) -> None:
    path = baselines.save(tmp_path, KEPT)
    path.write_text(content)
    with pytest.raises(OrchwatchError, match=r"main\.json: damaged, or no baseline"):
        baselines.load(tmp_path, "main")


def test_another_machine_is_said() -> None:
    other = replace(RUN, machine={**RUN.machine, "host": "other"})
    compared = baselines.compare(baselines.of_run(RUN), baselines.of_run(other))
    assert compared.notes == (
        "Not the same machine: host h and other; a change may be the machine's.",
    )
    again = replace(RUN, at=f"{RUN.at} later")
    assert baselines.compare(baselines.of_run(RUN), baselines.of_run(again)).notes == ()


def test_the_newest_run_of_a_commit_stands_for_it_and_changed_files_for_none() -> None:
    runs = [
        replace(RUN, commit=commit, at=str(number))
        for number, commit in enumerate(["a", "b", "a", "c-dirty", None])
    ]
    assert {commit: run.at for commit, run in baselines.commits(runs).items()} == {
        "a": "2",
        "b": "1",
    }
