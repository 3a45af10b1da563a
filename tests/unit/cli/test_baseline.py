"""`orchwatch baseline`: from the measurement to the exit code."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.unit.analysis.test_change_points import MACHINE, history, narrow, run
from tests.unit.store.test_samples import of_resource, of_version

import orchwatch
from orchwatch.analysis import benchmark_runs
from orchwatch.cli.main import main
from orchwatch.store import small

if TYPE_CHECKING:
    from tests.unit.conftest import Record

SECOND_NS = 1_000_000_000
DAY_NS = 24 * 3600 * SECOND_NS
MS_NS = 1_000_000
STEADY = [0.01 + 0.00001 * number for number in range(50)]
SLOWER = [value * 1.2 for value in STEADY]
PAGE = Path(orchwatch.__file__).parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(autouse=True)
def _here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home  # of this test alone
    monkeypatch.chdir(tmp_path)


def kept(home: Path, samples_s: list[float], **changes: Any) -> None:
    benchmark_runs.append(home, replace(run(1, samples_s), **changes))


def test_a_slowdown_of_a_fifth_is_a_regression_and_exit_code_3(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(home, STEADY)
    assert main(["baseline", "save", "main"]) == 0
    assert main(["baseline", "compare", "main"]) == 0
    assert "stable" in capsys.readouterr().out
    kept(home, SLOWER)
    assert main(["baseline", "compare", "main"]) == 3
    out, err = capsys.readouterr()
    assert re.search(r"^state\.query +10\.2ms +12\.3ms +\+20\.0% .* REGRESSION$", out, re.MULTILINE)
    assert err == "orchwatch: baseline compare: regression of state.query\n"
    assert main(["baseline", "compare", "main", "--format", "json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["regressions"] == ["state.query"]
    (change,) = document["operations"]
    assert change["change"] == pytest.approx(0.2)
    assert 0 < change["low"] < change["change"] < change["high"]


@pytest.mark.parametrize("output", ["table", "json", "md"])
@pytest.mark.parametrize(("before", "after"), [(50, 0), (1, 1), (2, 50)])
def test_where_nothing_can_be_compared_the_check_has_failed(
    before: int, after: int, output: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = run(1, STEADY).results
    kept(home, STEADY[:before])
    assert main(["baseline", "save", "main"]) == 0
    less = replace(result, samples_s=tuple(STEADY[:after]))
    kept(home, STEADY, results=(less, replace(result, operation="other")))
    capsys.readouterr()
    assert main(["baseline", "compare", "main", "--format", output]) == 3
    out, err = capsys.readouterr()
    assert "other" in out
    assert err == "orchwatch: baseline compare: nothing could be compared: no data on both sides\n"


def test_a_run_in_which_nothing_succeeded_is_no_baseline(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = run(1, STEADY).results
    kept(home, STEADY, results=(replace(result, samples_s=(), errors={"no luck": 5}),))
    assert main(["baseline", "save", "main"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("has succeeded")
    assert main(["baseline", "show", "main"]) == 1


def test_a_run_against_itself_is_said_to_be_no_comparison(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "Both are the same measurement: nothing was benchmarked in between."
    kept(home, STEADY)
    assert main(["baseline", "save", "main"]) == 0
    assert main(["baseline", "compare", "main"]) == 0
    assert note in capsys.readouterr().out
    kept(home, STEADY, at="2026-12-01T12:00:00.000Z")
    assert main(["baseline", "compare", "main"]) == 0
    assert note not in capsys.readouterr().out


def test_markdown_is_a_table_whatever_an_operation_is_called(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = run(1, STEADY).results
    odd = replace(result, operation="a|b `c` <script>\x1b[31m")
    kept(home, STEADY, results=(odd,))
    assert main(["baseline", "save", "main"]) == 0
    capsys.readouterr()
    assert main(["baseline", "compare", "main", "--format", "md"]) == 0
    head, rule, row, *_ = capsys.readouterr().out.splitlines()
    # As GitHub splits a row: at each bar that is not escaped.
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in (head, rule, row)]
    assert cells == [9, 9, 9]
    assert "\x1b" not in row
    assert "<script>" not in row


def test_baselines_are_listed_shown_and_replaced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "list"]) == 0
    assert "No baseline yet" in capsys.readouterr().out
    kept(home, STEADY)
    assert main(["baseline", "save", "main"]) == 0
    assert main(["baseline", "save", "main"]) == 0
    assert main(["baseline", "save", "1.4"]) == 0
    out = capsys.readouterr().out
    assert out.count("Kept baseline") == 2
    assert out.count("Replaced baseline main") == 1
    assert main(["baseline", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["1.4", "main"]
    assert main(["baseline", "show", "main"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^state\.query +50 +0 +10\.2ms$", out, re.MULTILINE)
    (home / "baselines" / "main.json").write_text("{")
    assert main(["baseline", "list"]) == 1
    out, err = capsys.readouterr()
    assert "1.4" in out
    assert "main.json: damaged" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["compare"], 2, "give a baseline's NAME or --by"),
        (["compare", "main", "--by", "week"], 2, "give a baseline's NAME or --by"),
        (["compare", "main"], 1, "there is none; known: none"),
        (["compare", "--by", "month"], 2, "must be one of week, version, commit"),
        (["compare", "--by", "week"], 1, "nothing to compare"),
        (["compare", "--by", "week", "--since", "1d"], 2, "does not go with --by week"),
        (["compare", "--by", "version"], 1, "two versions are needed, and none recorded"),
        (["compare", "--by", "commit"], 1, "no git repository"),
        (["compare", "--by", "commit", "--since", "1d"], 2, "is for recorded operations"),
        (["compare", "--by", "commit", "--recorded"], 1, "no git repository"),
        (["compare", "--by", "week", "--recorded"], 2, "goes with --by commit"),
        (["compare", "main", "--recorded"], 2, "goes with --by commit"),
        (["save", "main"], 1, "no benchmark was run yet"),
        (["save", "main", "--since", "1d"], 2, "goes with --recorded"),
        (["save", "main", "--recorded"], 1, "nothing to compare"),
        (["save", "a/b", "--recorded"], 1, ""),
        (["show", "main"], 1, "there is none"),
        (["history"], 1, "no benchmark was run yet"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert said in line


def test_this_week_is_held_against_the_last(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ns = time.time_ns()
    for number in range(60):
        duration_ns = (10 + number % 5) * MS_NS
        record(duration_ns=duration_ns, end_ns=now_ns - 10 * DAY_NS + number * SECOND_NS)
        record(duration_ns=duration_ns * 2, end_ns=now_ns - DAY_NS + number * SECOND_NS)
        record(duration_ns=1, end_ns=now_ns - 20 * DAY_NS + number * SECOND_NS)
    assert main(["baseline", "compare", "--by", "week"]) == 3
    out = capsys.readouterr().out
    assert re.search(r"state\.query +12ms +24ms +\+100\.0%", out)
    assert main(["baseline", "compare", "--by", "week", "--operation", "state.query"]) == 3


def test_the_newest_version_is_held_against_the_one_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now_ns = time.time_ns()
    for number in range(60):
        for place, (version, factor) in enumerate((("1.0", 1), ("1.1", 4), ("1.2", 2))):
            end_ns = now_ns - (3 - place) * 3600 * SECOND_NS + number * SECOND_NS
            of_version(version, (10 + number % 5) * factor * MS_NS, end_ns)
    assert main(["baseline", "compare", "--by", "version"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"state\.query +48ms +24ms +-50\.0% .* much faster", out)
    assert "operations of version 1.1" in out


def test_recorded_operations_are_a_baseline_too(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ns = time.time_ns()
    for number in range(60):
        record(duration_ns=(10 + number % 5) * MS_NS, end_ns=now_ns - 2 * DAY_NS)
    assert main(["baseline", "save", "before", "--recorded", "--until", "1d"]) == 0
    for number in range(60):
        record(duration_ns=(20 + number % 5) * MS_NS, end_ns=now_ns - 1000 * MS_NS)
    assert main(["baseline", "compare", "before", "--since", "1d"]) == 3
    assert "REGRESSION" in capsys.readouterr().out


def git(*words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *identity, *words], text=True).strip()


def committed(number: int) -> list[str]:
    git("init", "--quiet")
    commits = []
    for each in range(number):
        git("commit", "--quiet", "--allow-empty", "-m", str(each))
        commits.append(git("rev-parse", "HEAD"))
    return commits


def test_this_commit_is_held_against_the_nearest_before_it_that_was_benchmarked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = committed(3)
    kept(home, STEADY, commit=commits[0])
    assert main(["baseline", "compare", "--by", "commit"]) == 1
    assert f"no benchmark run of commit {commits[2][:12]}" in capsys.readouterr().err
    kept(home, SLOWER, commit=commits[2])
    # With changes it is no run of that commit.
    kept(home, STEADY, commit=f"{commits[2]}-dirty")
    assert main(["baseline", "compare", "--by", "commit"]) == 3
    out = capsys.readouterr().out
    assert f"run of commit {commits[0][:12]}" in " ".join(out.split())


@pytest.mark.parametrize("is_small", [True, False])
def test_what_was_recorded_of_this_commit_is_held_against_the_nearest_before_it(
    is_small: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_small:
        monkeypatch.setattr(small, "read", lambda _home: None)
    first, _, last = committed(3)
    compare = ["baseline", "compare", "--by", "commit", "--recorded"]
    assert main(compare) == 1
    said = capsys.readouterr().err
    assert f"no operation of commit {last[:12]} is recorded: set vcs.ref.head.revision" in said
    ends_ns = itertools.count(time.time_ns() - 600 * SECOND_NS, SECOND_NS)

    def recorded(revision: str, factor: int) -> None:
        for number, end_ns in zip(range(60), ends_ns, strict=False):
            duration_ns = (10 + number % 5) * factor * MS_NS
            of_resource({"vcs.ref.head.revision": revision}, duration_ns, end_ns)

    recorded(last[:10], 9)  # as `git rev-parse --short` has it
    recorded(last.upper(), 2)  # in full, that is what is taken
    # Neither says which commit it is.
    recorded(f"{first}-dirty", 9)
    recorded(first[:3], 9)
    assert main(compare) == 1
    assert f"no operation of a commit before {last[:12]}" in capsys.readouterr().err
    recorded(first, 1)
    assert main(compare) == 3
    out = capsys.readouterr().out
    assert re.search(r"state\.query +12ms +24ms +\+100\.0%", out)
    assert f"operations of commit {first[:12]}" in " ".join(out.split())
    assert main([*compare, "--operation", "state.query", "--since", "1h"]) == 3


def test_the_history_names_the_commit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ruptures")
    for one in history(narrow, 0, 37):
        benchmark_runs.append(home, one)
    path = home / benchmark_runs.RUNS_FILE
    path.write_text(path.read_text() + '{"results": [{"torn')
    assert main(["baseline", "history"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"state\.query: \+(19|20|21)% since commit 0{12}", out)
    assert "Skipped: 1 unreadable line." in out
    assert main(["baseline", "history", "--format", "json"]) == 0
    (series,) = json.loads(capsys.readouterr().out)["operations"]
    (point,) = series["change_points"]
    assert abs(int(point["commit"], 16) - 37) <= 1
    assert main(["baseline", "history", "--operation", "nosuch"]) == 1


def test_another_machine_is_said_in_the_comparison(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(home, STEADY)
    assert main(["baseline", "save", "main"]) == 0
    kept(home, STEADY, machine={**MACHINE, "cpu": "other"})
    capsys.readouterr()
    assert main(["baseline", "compare", "main"]) == 0
    assert "Not the same machine: cpu c and other" in capsys.readouterr().out


def test_the_workflow_on_the_page_is_yaml_and_its_commands_are_those_there_are(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (job,) = yaml.safe_load(text)["jobs"].values()
    commands = [
        step["run"].partition(" > ")[0].split()[1:]
        for step in job["steps"]
        if step.get("run", "").startswith("orchwatch ")
    ]
    assert len(commands) == 4
    Path("mypackage").mkdir()
    Path("mypackage/hot.py").write_text("def path():\n    return sum(range(100_000))\n")
    for words in commands:
        assert main(words) in (0, 3)
    assert (home / "baselines" / "base.json").exists()
    assert "\n| Operation | Before |" in capsys.readouterr().out
