"""Runs are kept, whatever happened to the file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import benchmark_runs, comparison
from orchwatch.analysis.benchmark_runs import Result, Run
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from pathlib import Path

RUN = Run(
    results=(
        Result(
            operation="state.query",
            component="state",
            samples_s=(0.001, 0.002, 0.003, 0.01),
            loops_s=(0.0005,) * 4,
            errors={"StateError: no": 1},
            target_s=0.05,
            status="ok",
        ),
    ),
    machine={"host": "h", "noise": 0.1},
    version="0.1.0",
    commit="abc",
    at="2026-11-30T12:00:00.000Z",
)


def test_the_keys_of_a_result_are_the_documented_ones() -> None:
    document = RUN.as_json()
    assert list(document) == ["results", "machine", "version", "commit", "at"]
    (result,) = document["results"]
    assert result == {
        "operation": "state.query",
        "component": "state",
        "iterations": 5,
        "mean_ms": 4.0,
        "median_ms": 2.5,
        "stddev_ms": pytest.approx(4.082483),
        "min_ms": 1.0,
        "max_ms": 10.0,
        "p95_ms": 10.0,
        "p99_ms": 10.0,
        "success_rate": 0.8,
        "target_ms": 50.0,
        "status": "ok",
    }


def test_percentiles_are_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert [benchmark_runs.percentile(ordered, percent) for percent in (50, 95, 99)] == [50, 95, 99]
    assert benchmark_runs.percentile([7.0], 99) == 7


def test_a_run_is_read_as_it_was_kept(tmp_path: Path) -> None:
    path = benchmark_runs.append(tmp_path, RUN)
    benchmark_runs.append(tmp_path, replace(RUN, commit=None))
    assert benchmark_runs.read(tmp_path).kept == (RUN, replace(RUN, commit=None))
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_oldest_runs_go_and_never_the_last(tmp_path: Path) -> None:
    for number in range(10):
        path = benchmark_runs.append(tmp_path, replace(RUN, commit=f"c{number}"))
    size = path.stat().st_size
    assert benchmark_runs.drop_oldest(tmp_path, 0) == 0
    assert benchmark_runs.drop_oldest(tmp_path, size) == 0
    assert benchmark_runs.drop_oldest(tmp_path, size // 2) == 5
    kept = benchmark_runs.read(tmp_path)
    assert ([run.commit for run in kept.kept], kept.unreadable) == (
        ["c5", "c6", "c7", "c8", "c9"],
        0,
    )
    assert benchmark_runs.drop_oldest(tmp_path, 1) == 4
    assert [run.commit for run in benchmark_runs.read(tmp_path).kept] == ["c9"]
    assert benchmark_runs.drop_oldest(tmp_path / "none", 1) == 0


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert benchmark_runs.read(tmp_path) == benchmark_runs.Runs(())


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_costs_itself_and_nothing_after_it(tmp_path: Path, cut: int) -> None:
    benchmark_runs.append(tmp_path, RUN)
    path = benchmark_runs.append(tmp_path, RUN)
    os.truncate(path, path.stat().st_size - cut)
    benchmark_runs.append(tmp_path, replace(RUN, commit="next"))
    runs = benchmark_runs.read(tmp_path)
    # A line that lacks its newline alone is whole.
    assert [run.commit for run in runs.kept] == ["abc", *(["abc"] if cut == 1 else []), "next"]
    assert runs.unreadable == (0 if cut == 1 else 1)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"results": 1, "machine": {}, "version": "1", "commit": null, "at": "x"}',
        b'{"results": [{}], "machine": {}, "version": "1", "commit": null, "at": "x"}',
        b'{"results": [], "machine": {}, "version": 1, "commit": null, "at": "x"}',
        b"[" * 100_000,
    ],
)
def test_lines_of_something_else_are_skipped_and_counted(tmp_path: Path, line: bytes) -> None:
    path = benchmark_runs.append(tmp_path, RUN)
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert benchmark_runs.read(tmp_path) == benchmark_runs.Runs((RUN,), 1)


@pytest.mark.parametrize("wrong", [-1, float("nan"), "1", None])
def test_a_run_with_an_impossible_duration_is_skipped(tmp_path: Path, wrong: object) -> None:
    path = benchmark_runs.append(tmp_path, RUN)
    record = json.loads(path.read_text())
    record["results"][0]["samples_ms"][0] = wrong
    path.write_text(json.dumps(record) + "\n")
    assert benchmark_runs.read(tmp_path) == benchmark_runs.Runs((), 1)


def test_of_a_long_run_some_samples_are_kept_and_all_figures(tmp_path: Path) -> None:
    many = tuple(number / 1e6 for number in range(10_000))
    long = replace(RUN, results=(replace(RUN.results[0], samples_s=many, loops_s=many),))
    path = benchmark_runs.append(tmp_path, long)
    (run,) = benchmark_runs.read(tmp_path).kept
    assert len(run.results[0].samples_s) == comparison.MAX_SAMPLES
    assert run.results[0].iterations == 10_001
    record = json.loads(path.read_text())["results"][0]
    assert (record["iterations"], record["max_ms"]) == (10_001, 9.999)


def test_a_directory_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / benchmark_runs.RUNS_FILE).mkdir(parents=True)
    for act in (
        lambda: benchmark_runs.append(tmp_path, RUN),
        lambda: benchmark_runs.read(tmp_path),
    ):
        with pytest.raises(OrchwatchError, match=r"runs\.jsonl: .* it is a directory"):
            act()


def test_many_kinds_of_errors_are_counted_as_one() -> None:
    errors = benchmark_runs.counted(f"error {number}" for number in range(1000))
    assert sum(errors.values()) == 1000
    assert len(errors) <= 21
