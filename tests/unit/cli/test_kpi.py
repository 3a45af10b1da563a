from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.analysis import probes
from orchwatch.analysis.kpis import Kpis
from orchwatch.analysis.phases import PHASES
from orchwatch.analysis.probes import Tree
from orchwatch.analysis.status import Business, System
from orchwatch.analysis.time_spent import Spent
from orchwatch.cli.main import main
from orchwatch.reporters import kpi_list

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def project(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert home
    path = tmp_path / "project"
    path.mkdir()
    monkeypatch.chdir(path)
    # Sessions that run on this machine are not the test's.
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "environ").touch()
    monkeypatch.setattr(probes, "_PROC", str(tmp_path / "proc"))
    return path


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["kpi", "list", *options]) == 0
    return capsys.readouterr().out


def test_every_figure_is_listed_without_a_measurement(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = json.loads(listed(capsys, "--format", "json"))
    assert len(found["kpis"]) == 14
    assert set(found["kpis"].values()) == {None}
    assert listed(capsys).count(" -\n") == 12


def test_what_was_set_is_listed_and_shown_among_the_levels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["kpi", "set", "test.coverage", "83%"]) == 0
    assert main(["kpi", "set", "code.quality", "8.4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "test.coverage is 83% until a newer figure is found",
        "code.quality is 8.4 until a newer figure is found",
    ]
    with operation("agent.task", {"gen_ai.agent.name": "a"}):
        pass
    found = json.loads(listed(capsys, "--format", "json"))["kpis"]
    assert (found["test_coverage"], found["code_quality"]) == (0.83, 8.4)
    assert found["documentation_coverage"] is None
    assert found["success_ratio"] == 1
    assert "83%  kpi set" in listed(capsys)
    assert main(["current", "--format", "json"]) == 0
    levels = json.loads(capsys.readouterr().out)["levels"]
    assert levels["test.coverage"] == {
        "value": 0.83, "target": 0.8, "unit": "1", "status": "ok"
    }  # fmt: skip
    assert levels["agent.utilization"]["value"] == 1


def test_each_figure_has_one_line_of_80_columns() -> None:
    kpis = Kpis(
        active_agents=12,
        tasks_per_hour=123.0,
        success_ratio=0.9999,
        error_ratio=0.0001,
        agent_utilization=0.1234,
        parallel_ratio=0.1234,
        efficiency_ratio=0.1234,
        tasks=12_345,
        agents=12_345,
    )
    whole = Business(kpis=kpis, phases=Spent(turns=1000, lengths=dict.fromkeys(PHASES, 10**9)))
    used = System(
        session_trees={"s": Tree(processes=1, memory_bytes=5 * 2**30, cpu=None)},
        storage_bytes=123 * 2**20,
    )
    file = io.StringIO()
    kpi_list.render(used, whole, "All.", file)
    lines = file.getvalue().split("\n\n")[0].splitlines()
    assert len(lines) == len(kpi_list.FIGURES) + len(PHASES)
    assert max(map(len, lines)) <= 80
    (efficiency,) = (line for line in lines if line.startswith("Efficiency"))
    assert efficiency.split(maxsplit=2)[1:] == ["12.34%", "work that succeeded"]


def test_a_broken_file_is_a_note(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "coverage.xml").write_text("<html>")
    assert "note: coverage.xml was ignored: " in listed(capsys)


def test_shares_say_of_how_many_and_the_list_how_far_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(3):
        with operation("agent.task", {"gen_ai.agent.name": "a"}):
            pass
    text = listed(capsys)
    assert "100%  of 3 tasks\n" in text
    assert "%  of 1 agent\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "in the last 1h; --since looks further back" in text
    assert "--since" not in listed(capsys, "--since", "all")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["set", "success_ratio", "1"], 2),
        (["set", "test.coverage", "much"], 2),
        (["set", "test.coverage"], 2),
        ([], 2),
        (["set", "test.coverage", "83"], 1),
        (["set", "code.quality", "nan"], 1),
        (["set", "code.quality", "-1"], 1),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kpi", *words]) == code
    error = capsys.readouterr().err
    assert error.startswith("orchwatch: kpi")
    assert error.count("\n") == 1


def test_the_doctor_names_a_broken_file_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "coverage.json").write_text("{")
    main(["doctor"])
    assert "coverage.json was ignored" in capsys.readouterr().out
