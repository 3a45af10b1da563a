from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.integrations import activation
from orchwatch.targets import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

RUN = [sys.executable, "-m", "orchwatch.cli", "run", "--"]
TABLE = '[instrument]\n"app:query" = "state.query"\n'
# The interpreter without the environment that orchwatch is installed in.
BARE_PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
def program(home: Path) -> Path:
    """A program that nobody edited, and the table that names its function."""
    directory = home.parent / "work"
    (directory / "app.py").write_text("def query():\n    return 41 + 1\n")
    (directory / "main.py").write_text("import app\nprint(app.query())\n")
    (directory / "orchwatch.toml").write_text(TABLE)
    return directory / "main.py"


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )


def test_an_unedited_program_is_watched(program: Path, spans: Spans) -> None:
    ended = run(sys.executable, program)
    assert (ended.stdout, ended.stderr) == ("42\n", "")
    inner, outer = spans()
    assert [inner["name"], outer["name"]] == ["state.query", "command.run"]
    assert inner["parentSpanId"] == outer["spanId"]


def test_a_variable_names_callables_too(program: Path, spans: Spans) -> None:
    (program.parent / "orchwatch.toml").unlink()
    run(sys.executable, program, ORCHWATCH_INSTRUMENT="app:query=x.y, app:missing.z=a")
    assert [span["name"] for span in spans()] == ["x.y", "command.run"]


def test_an_interpreter_without_orchwatch_is_watched_without_its_packages(
    program: Path, spans: Spans
) -> None:
    program.write_text(
        "import sys, app\n"
        "app.query()\n"
        "print(*sys.path)\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'opentelemetry', 'wrapt'})\n"
    )
    path, third_party = run(BARE_PYTHON, program).stdout.splitlines()
    assert "orchwatch" not in path.replace(str(program.parent), "")
    assert third_party == ""
    assert [span["name"] for span in spans()] == ["state.query", "command.run"]


def test_the_programs_own_sitecustomize_still_runs(program: Path, tmp_path: Path) -> None:
    own = tmp_path / "site"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.customized = __file__\n")
    program.write_text("import sys, sitecustomize\nprint(sys.customized, sitecustomize.__file__)\n")
    ended = run(sys.executable, program, PYTHONPATH=str(own))
    assert ended.stdout.split() == [str(own / "sitecustomize.py")] * 2


def test_a_program_that_the_program_starts_is_watched_from_any_directory(
    program: Path, spans: Spans
) -> None:
    starter = (
        "import subprocess, sys, os\n"
        "os.chdir('/')\n"
        f"subprocess.run([sys.executable, {str(program)!r}], check=True)\n"
    )
    run(sys.executable, "-c", starter)
    assert [span["name"] for span in spans()] == ["state.query", "command.run"]


def test_a_broken_table_is_one_warning_and_the_program_runs(program: Path) -> None:
    (program.parent / "orchwatch.toml").write_text('[instrument]\n"app.query" = "state.query"\n')
    ended = run(sys.executable, program)
    assert ended.stdout == "42\n"
    assert ended.stderr == (
        f"orchwatch: nothing is watched: {program.parent}/orchwatch.toml: "
        'instrument."app.query": must be spelt "package.module:Class.method"\n'
    )


def test_a_name_that_the_module_lacks_is_one_warning(program: Path) -> None:
    ended = run(sys.executable, program, ORCHWATCH_INSTRUMENT="app:Store.get=state.query")
    assert ended.stdout == "42\n"
    assert ended.stderr == (
        "orchwatch: app:Store.get cannot be watched as state.query: there is no 'Store'\n"
    )


def test_a_module_that_its_package_lacks_is_one_warning(program: Path) -> None:
    package = program.parent / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "agents.py").touch()
    program.write_text("import shop.agents\n")
    (program.parent / "orchwatch.toml").write_text(
        '[instrument]\n"shop.agentz:spawn" = "a.b"\n"shop.agents.x:f" = "a.b"\n'
        '"elsewhere.db:get" = "a.b"\n"json.tool:main" = "a.b"\n'
    )
    reason = "cannot be watched as"
    assert run(sys.executable, program).stderr.splitlines() == [
        f"orchwatch: elsewhere.db:get {reason} a.b: there is no module or script 'elsewhere.db'",
        f"orchwatch: shop.agents.x:f {reason} a.b: there is no module or script 'shop.agents.x'",
        f"orchwatch: shop.agentz:spawn {reason} a.b: there is no module or script 'shop.agentz'",
    ]


def test_without_anything_to_wrap_the_environment_stays_as_it_is() -> None:
    environ = {"PYTHONPATH": "/a"}
    assert activation.environment(environ) == {"PYTHONPATH": "/a"}


def test_the_directory_stands_in_the_python_path_once(program: Path) -> None:
    once = activation.environment({"PYTHONPATH": "/a:"})
    assert once["PYTHONPATH"] == f"{activation.SITE_DIRECTORY}:/a:"
    assert once["ORCHWATCH_CONFIG"] == str(program.parent / "orchwatch.toml")
    assert activation.environment(once) == once


def test_it_finds_the_same_file_as_the_configuration_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [
        tmp_path / "config" / "orchwatch" / "orchwatch.toml",
        tmp_path / "work" / "orchwatch.toml",
        tmp_path / "elsewhere.toml",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(TABLE)
        if place.name == "elsewhere.toml":
            monkeypatch.setenv("ORCHWATCH_CONFIG", str(place))
        expected = config.find()
        assert expected is not None
        assert activation.configured_file() == str(expected.absolute()) == str(place)


def test_a_file_without_the_table_activates_nothing(program: Path) -> None:
    (program.parent / "orchwatch.toml").write_text("[operations]\n")
    assert activation.configured_file() is None


def test_a_file_that_is_missing_activates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHWATCH_CONFIG", "/no/such/file")
    assert activation.configured_file() is None


MANY = """\
import subprocess, sys
if len(sys.argv) == 1:
    started = [subprocess.Popen([sys.executable, __file__, str(row)]) for row in range(4)]
    sys.exit(max(process.wait() for process in started))
import app
if sys.argv[1] == "2":
    app.query()
"""


def test_a_problem_that_many_processes_meet_is_one_warning(program: Path) -> None:
    program.write_text(MANY)
    ended = run(sys.executable, program, ORCHWATCH_INSTRUMENT="app:missing=a")
    assert ended.stderr == "orchwatch: app:missing cannot be watched as a: there is no 'missing'\n"


def test_what_one_of_many_processes_calls_is_no_warning(program: Path, spans: Spans) -> None:
    program.write_text(MANY)
    assert run(sys.executable, program).stderr == ""
    assert [span["name"] for span in spans()].count("state.query") == 1


@pytest.mark.parametrize("under", [[], RUN])
def test_what_is_never_called_is_one_warning_when_the_program_ends(
    program: Path, under: list[str]
) -> None:
    program.write_text("import app\n")
    # Inside another run it is the outer one that says so.
    ended = run(*under, sys.executable, program)
    assert ended.stderr == "orchwatch: app:query is watched as state.query, and was never called\n"
    program.write_text("import app\napp.query()\n")
    assert run(sys.executable, program).stderr == ""
    program.write_text("import app\n")
    assert run(sys.executable, program).stderr == ""  # another program does call it


def test_opentelemetry_instrument_says_what_was_never_called(program: Path) -> None:
    program.write_text("import app\n")
    instrument = os.path.join(os.path.dirname(sys.executable), "opentelemetry-instrument")
    ended = subprocess.run(
        [instrument, sys.executable, str(program)],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.stderr == "orchwatch: app:query is watched as state.query, and was never called\n"


def test_what_is_called_by_a_process_that_is_killed_counts_as_called(program: Path) -> None:
    program.write_text("import app, os, signal\napp.query()\nos.kill(os.getpid(), 9)\n")
    starter = f"import subprocess, sys; subprocess.run([sys.executable, {str(program)!r}])"
    assert run(sys.executable, "-c", starter).stderr == ""


def test_an_interrupted_script_ends_as_ever(program: Path) -> None:
    program.write_text("import os, signal\ndef query():\n    os.kill(os.getpid(), 2)\nquery()\n")
    plain, watched = (
        subprocess.run(
            [*words, sys.executable, str(program)],
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "ORCHWATCH_INSTRUMENT": "main:query=a"},
        )
        for words in ([], RUN)
    )
    assert (plain.returncode, plain.stderr) == (watched.returncode, watched.stderr)
    assert plain.returncode == -2
