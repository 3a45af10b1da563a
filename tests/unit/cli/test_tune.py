"""`orchwatch tune`: real workloads, real settings, and nothing half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.unit.analysis.test_tuning import KEPT

from orchwatch.analysis import tuning
from orchwatch.analysis.benchmark_runs import Result
from orchwatch.bench import tuner
from orchwatch.bench.case import COMPONENTS, REACHED
from orchwatch.bench.workers import BenchmarkError
from orchwatch.cli.main import main
from orchwatch.runtime import settings
from orchwatch.targets.knobs import KNOBS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchwatch.runtime.settings import Tuned
    from orchwatch.targets.knobs import Knob

TUNE = [sys.executable, "-m", "orchwatch.cli", "tune"]
OWN = "# mine\n[tuning]\n\ncache_bytes   = 1_000 # far too small\n"
KNOB = {knob.name: knob for knob in KNOBS}
# Searches of a state that others do not write meanwhile: a cache answers them ten times as fast.
WORKLOAD = """
import atexit, tempfile
from orchwatch.bench import workload
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager
directory = tempfile.TemporaryDirectory()
state = SessionStateManager(directory.name, "s")
atexit.register(directory.cleanup)
atexit.register(state.close)
state.merge("$", workload.state())
queries = QueryAPI(state)
paths = [f"$.tasks[?@.priority > {n} && @.failures < 9].id" for n in range(9)]

def ask():
    queries.bulk_query(paths)
"""


@pytest.fixture(autouse=True)
def _here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home  # of this test alone
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "orchwatch.toml"
    path.write_text(OWN)
    (tmp_path / "mine.py").write_text(WORKLOAD)
    return path


def tuned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    asked = ("--callable", "mine:ask", "--iterations", "40", "--format", "json", *words)
    assert main(["tune", *asked]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_cache_that_is_far_too_small_grows_and_undo_takes_it_back(
    own: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposed = tuned(capsys, "--knob", "cache_bytes", "--dry-run")
    assert not (home / settings.TUNED_FILE).exists()
    assert not (home / tuning.LOG_FILE).exists()
    assert {one["decision"] for one in proposed["decisions"]} <= {"proposed", "undone"}
    # Beside others a machine may be so unsteady that nothing is beyond doubt: then nothing changed.
    while not (kept := tuned(capsys, "--knob", "cache_bytes"))["decisions"][0]["number"] or (
        kept["decisions"][0]["decision"] != "kept"
    ):
        assert settings.current() == Settings(cache_bytes=1000)
    default = KNOB["cache_bytes"].default
    assert kept["settings"]["cache_bytes"] == settings.current().cache_bytes >= default
    (operation,) = kept["decisions"][0]["operations"]
    assert operation["high"] < 0
    assert operation["after_s"] < operation["before_s"]
    assert own.read_text() == OWN

    again = tuned(capsys, "--knob", "cache_bytes")
    assert again["settings"] == kept["settings"]
    assert {one["decision"] for one in again["decisions"]} == {"undone"}

    assert main(["tune", "log"]) == 0
    assert "cache_bytes 16777216 since" in " ".join(capsys.readouterr().out.split())
    while settings.current() != Settings(cache_bytes=1000):
        assert main(["tune", "undo"]) == 0
    assert capsys.readouterr().out.endswith("cache_bytes = 1000 again, not 16777216.\n")
    assert not (home / settings.TUNED_FILE).exists()
    assert own.read_text() == OWN
    assert main(["tune", "undo"]) == 1
    assert capsys.readouterr().err == (
        "orchwatch: tune undo: no setting in effect was found by orchwatch tune\n"
    )


def test_a_log_without_decisions_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "log"]) == 0
    assert capsys.readouterr().out.startswith("No decision yet: orchwatch tune.\nSettings: ")


@pytest.mark.parametrize("width", [30, 40, 60, 79, 80, 200])
def test_the_log_fits_the_terminal(
    width: int, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    tuning.append(home, KEPT)
    tuning.append(home, replace(KEPT, number=2, decision="undone", after=16_777_216))
    assert main(["tune", "log"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= min(width, 80)
    assert out.count("2026-01-02 03:04") == 2
    assert out.count("undone") == 1


def test_good_settings_stay_as_they_are(
    own: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.unlink()
    done = tuned(capsys, "--knob", "cache_bytes", "--knob", "checkpoint_pages")
    assert {one["decision"] for one in done["decisions"]} == {"undone"}
    assert done["settings"] == {knob.name: knob.default for knob in KNOBS}
    assert not (home / settings.TUNED_FILE).exists()
    assert len(tuning.read(home).decisions) == len(done["decisions"]) == 4


@pytest.mark.parametrize("component", ["state", "event", "agent"])
def test_what_the_settings_show_in_is_measured_without_a_failure(
    component: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--component", component, "--knob", "pool_size", "--iterations", "10")
    assert main(["tune", *words, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    for one in document["decisions"]:
        assert len(one["operations"]) == 2
        for operation in one["operations"]:
            assert (operation["before_failures"], operation["after_failures"]) == (0, 0)
    assert [path.name for path in (home / "benchmarks").glob("*")] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--callable", "mine"), "--callable must be spelt MODULE:FUNCTION, not 'mine'"),
        (("--callable", "a:b", "--component", "state"), "--component does not go with --callable"),
        (("log", "--dry-run"), "tune log: --dry-run does not go with it"),
        (("undo", "--knob", "pool_size"), "tune undo: --knob does not go with it"),
        (("--knob", "pool"), "--knob must be one of cache_bytes"),
        (("again",), "must be one of log, undo, not 'again'"),
        (("--minutes", "0"), "must be a number from 0.01"),
        (("--component", "stat"), "no component 'stat'; did you mean"),
    ],
)
def test_words_that_do_not_fit_are_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *words]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tuning]\ncache_bytes = -1", "tuning.cache_bytes: must be a whole number from 0 to"),
        ("[tuning]\npool_size = 1.5", "tuning.pool_size: must be a whole number from 1 to 1024"),
        ("[tuning]\ncache = 1", "tuning.cache: unknown key; known are cache_bytes, flush"),
        ("tuning = 1", "tuning: must be a table"),
    ],
)
@pytest.mark.parametrize("action", [(), ("log",), ("undo",)])
def test_a_setting_out_of_bounds_is_one_line(
    text: str, said: str, action: tuple[str, ...], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.write_text(text)
    assert main(["tune", *action]) == 1
    out, err = capsys.readouterr()
    assert f"orchwatch.toml: {said}" in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_workload_that_fails_is_one_line_and_changes_nothing(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("def ask(): raise ValueError('no \\x1b luck')")
    assert main(["tune", "--callable", "mine:ask"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "orchwatch: tune: mine:ask fails: ValueError: no \\x1b luck\n")
    assert not (home / settings.TUNED_FILE).exists()


def test_two_at_once_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tuner.alone(home):
        for action in ([], ["undo"]):
            assert main(["tune", *action]) == 1
            assert capsys.readouterr().err == (
                f"orchwatch: tune: another orchwatch tune runs already on {home}\n"
            )
    assert main(["tune", "log"]) == 0


def test_a_killed_one_leaves_the_settings_whole(own: Path, home: Path) -> None:
    assert own.exists()
    # At once, as it measures, and as it decides.
    for wanted in ("tuning.lock", "benchmarks/running-*/workspace", tuning.LOG_FILE):
        process = subprocess.Popen([*TUNE, "--callable", "mine:ask", "--iterations", "10"])
        while not list(home.glob(wanted)):
            assert process.poll() is None
            time.sleep(0.001)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(started)
        found = settings.tuned(home)
        assert settings.current() == settings.of({"cache_bytes": 1000}, found)
        assert set(found) <= {"cache_bytes"}
    with tuner.alone(home):
        assert not list(home.glob("*.tmp"))


def measured(took_s: Callable[[Settings, int], Mapping[str, float]]) -> Any:
    """A workload whose operations take what the settings and the number of the turn make of it."""
    turns = iter(range(1_000))

    def measure(
        found: Mapping[str, Tuned], tell: Callable[[], None], _knob: Knob | None
    ) -> list[Result]:
        tell()
        now = settings.of({}, found)
        return [
            Result(operation=name, component="c", samples_s=(seconds,) * 50)
            for name, seconds in took_s(now, next(turns)).items()
        ]

    return measure


def decided(
    home: Path, workload: Any, name: str = "batch_size", **more: Any
) -> Iterator[tuple[float, str]]:
    outcome = tuner.Tuner(home, workload, knobs=[KNOB[name]], limit_s=600, **more).run()
    return ((one.after, one.decision) for one in outcome.decisions)


def test_it_goes_on_in_the_direction_that_helps_up_to_the_bound(home: Path) -> None:
    workload = measured(lambda now, _turn: {"o": 1 / now.batch_size})
    found = list(decided(home, workload))
    assert found == [(2048, "kept"), (16384, "kept"), (100_000, "kept")]
    assert settings.current().batch_size == 100_000
    # The default lies behind it; what is as good or worse is undone.
    assert list(decided(home, workload)) == [(256, "undone"), (12_500, "undone")]


def test_what_makes_another_operation_slower_is_undone(home: Path) -> None:
    workload = measured(
        lambda now, _turn: {"o": 1 / now.batch_size, "p": 1 + now.batch_size / 10_000}
    )
    assert list(decided(home, workload)) == [(2048, "undone"), (32, "undone")]
    assert tuning.read(home).decisions[0].why == "p became slower"


def test_what_helps_only_once_is_undone(home: Path) -> None:
    # The second measurement of all is fast, whatever is set.
    workload = measured(lambda _now, turn: {"o": 0.1 if turn == 1 else 1.0})
    assert list(decided(home, workload)) == [(2048, "undone"), (32, "undone")]
    assert "did not each time" in tuning.read(home).decisions[0].why
    assert tuning.read(home).decisions[1].is_plain


def test_a_value_with_which_the_workload_fails_is_undone(home: Path) -> None:
    def took_s(now: Settings, _turn: int) -> Mapping[str, float]:
        if now.pool_size < 10:
            raise BenchmarkError("mine:ask: its process ended early")
        return {"o": 1.0}

    assert list(decided(home, measured(took_s), "pool_size")) == [(128, "undone"), (2, "undone")]
    assert "its process ended early" in tuning.read(home).decisions[1].why


def test_a_value_with_which_the_workload_never_ends_is_undone(home: Path, tmp_path: Path) -> None:
    # Two agents that wait for each other, and a pool that has room for one.
    (tmp_path / "mine.py").write_text(
        "import time\nfrom orchwatch.runtime.agents import Limits\n"
        "def ask():\n    while Limits().agents < 10: time.sleep(0.01)\n"
    )
    task = {"component": "callable", "operation": "mine:ask", "callable": "mine:ask"}
    workload = tuner.Workload(home, [task], iterations=10, silence_s=20.0)
    assert dict(decided(home, workload, "pool_size"))[2] == "undone"
    assert tuning.read(home).decisions[-1].why == (
        "with it the workload fails: mine:ask: no iteration ended within 20 s"
    )
    assert [path.name for path in (home / "benchmarks").glob("*")] == []


def test_a_dry_run_goes_as_far_and_keeps_nothing(home: Path) -> None:
    workload = measured(lambda now, _turn: {"o": now.flush_interval_s})
    found = list(decided(home, workload, "flush_interval_s", dry_run=True))
    assert [kind for _, kind in found] == ["undone", "proposed", "proposed"]
    assert found[-1][0] == KNOB["flush_interval_s"].lowest
    assert not home.exists()


def test_without_time_nothing_is_begun(home: Path) -> None:
    outcome = tuner.Tuner(home, measured(lambda _now, _turn: {}), limit_s=0).run()
    assert outcome.untried == [knob.name for knob in KNOBS]
    assert not outcome.decisions


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("limit_s", [150, 1_000_000])
def test_no_knob_is_left_out_because_others_before_it_took_long(
    home: Path, monkeypatch: pytest.MonkeyPatch, limit_s: int
) -> None:
    turns_s = [0]
    monkeypatch.setattr(tuner, "time", SimpleNamespace(monotonic=lambda: turns_s[-1]))

    def took_s(now: Settings, _turn: int) -> Mapping[str, float]:
        turns_s.append(turns_s[-1] + 10)  # seconds that a measurement takes
        return {"o": 1 / (now.cache_bytes * now.pool_size)}  # better with every step

    workload = measured(took_s)
    outcome = tuner.Tuner(home, workload, limit_s=limit_s).run()
    assert {one.knob for one in outcome.decisions} == set(KNOB)
    assert bool(outcome.untried) == (limit_s == 150)
    assert settings.current().pool_size > Settings().pool_size


def test_what_a_knob_does_not_reach_is_not_measured_at_first(home: Path) -> None:
    tasks = [{"component": name} for name in ("session", "event")]
    workload = tuner.Workload(home, tasks, iterations=10)

    def components(knob: Knob | None) -> set[str]:
        return {one.component for one in workload({}, lambda: None, knob)}

    assert components(KNOB["batch_size"]) == {"event"}
    assert components(None) == components(KNOB["pool_size"]) == {"session", "event"}


def test_each_knob_reaches_a_component() -> None:
    assert set(REACHED) == set(KNOB)
    assert all(reached and set(reached) <= set(COMPONENTS) for reached in REACHED.values())


def test_what_only_the_whole_workload_shows_is_undone(home: Path) -> None:
    def measure(
        found: Mapping[str, Tuned], _tell: Callable[[], None], knob: Knob | None
    ) -> list[Result]:
        size = settings.of({}, found).batch_size
        took_s = {"event.write": 1 / size} | ({} if knob else {"state.set": 1 + size / 10_000})
        return [
            Result(operation=name, component="c", samples_s=(seconds,) * 50)
            for name, seconds in took_s.items()
        ]

    assert list(decided(home, measure)) == [(2048, "undone"), (32, "undone")]
    first = tuning.read(home).decisions[0]
    assert first.why == "state.set became slower"
    assert [change.operation for change in first.operations] == ["event.write", "state.set"]


def test_a_change_that_was_set_aside_by_hand_is_not_taken_back(
    home: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.unlink()
    workload = measured(lambda now, _turn: {"o": 1 / now.batch_size})
    assert list(decided(home, workload))
    own.write_text("[tuning]\nbatch_size = 7\n")
    assert settings.current().batch_size == 7
    assert main(["tune", "undo"]) == 1
    assert "no setting in effect" in capsys.readouterr().err


def test_each_undo_goes_one_change_back(home: Path) -> None:
    workload = measured(lambda now, _turn: {"o": 1 / now.batch_size})
    assert len(list(decided(home, workload))) == 3
    left = [tuner.undo(home)[1].batch_size for _ in range(3)]
    assert left == [16384, 2048, 256]
    assert not (home / settings.TUNED_FILE).exists()
    assert os.listdir(home) == [tuning.LOG_FILE]


@pytest.mark.usefixtures("home")
def test_a_function_that_cannot_be_measured_is_named_as_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for function, why in (
        ("nosuchmodule:f", "nosuchmodule cannot be imported: ModuleNotFoundError: No module named"),
        ("os:nosuch", "os has no callable nosuch"),
        ("os:abort", "its process ended early"),
    ):
        assert main(["tune", "--callable", function, "--iterations", "10"]) == 1
        assert capsys.readouterr().err.startswith(f"orchwatch: tune: {function}: {why}")
