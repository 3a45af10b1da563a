"""Functions of the script that is run, watched without an edit, however it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

RUN = [sys.executable, "-m", "orchwatch.cli", "run", "--"]
BIN = Path(sys.executable).parent

SCRIPT = '''\
#!/usr/bin/env python3
# /// script
# dependencies = []
# ///
"""What a person keeps in a directory of scripts."""
import dataclasses
import inspect
import os
import pickle
import sys


def logged(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


def spawn(name="a"):
    """Spawns."""
    return name * 2


@logged
def persist():
    return spawn()


@dataclasses.dataclass
class Store:
    rows: int = 1

    def get(self):
        return self.rows

    @property
    def size(self):
        return self.rows * 2


HANDLERS = {"spawn": spawn}
print(HANDLERS["spawn"]("b"), persist(), Store().get(), Store(3).size, spawn.__doc__)
print(__name__, os.path.basename(__file__), __package__, sys.argv[1:], bool(__spec__))
print(os.path.basename(sys.path[0]), __loader__.__class__.__name__, inspect.signature(spawn))
print(pickle.loads(pickle.dumps(Store(7))), pickle.loads(pickle.dumps(spawn)) is spawn)
if "fail" in sys.argv:
    spawn(None)
'''
PATHS = {"spawn": "agent.spawn", "persist": "state.persist", "Store.get": "state.query"}
WATCHED = [
    "agent.spawn",
    "agent.spawn",
    "state.persist",
    "state.query",
    "size",
    "command.run",
]


@pytest.fixture
def work(home: Path) -> Path:
    directory = home.parent / "work"
    package = directory / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("x.py", "my-hook.py", "my-hook", "pkg/mod.py", "pkg/__main__.py"):
        (directory / name).write_text(SCRIPT)
        (directory / name).chmod(0o755)
    return directory


def name_callables(work: Path, module: str) -> None:
    rows = {**PATHS, "Store.size": "size"}
    lines = [f'"{module}:{path}" = "{operation}"' for path, operation in rows.items()]
    (work / "orchwatch.toml").write_text("\n".join(["[instrument]", *lines]))


def start(*words: str, **environment: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return ended.returncode, ended.stdout, ended.stderr


def assert_watched_as_ever(spans: Spans, words: list[str]) -> None:
    """Under orchwatch the script prints what it prints without, and its calls are operations."""
    assert start(*RUN, *words) == start(*words)
    written = spans()
    assert sorted(span["name"] for span in written) == sorted(WATCHED)
    outer = next(span for span in written if span["name"] == "command.run")
    assert {span["traceId"] for span in written} == {outer["traceId"]}


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("x", ["x.py", "a", "b"]),
        ("x", ["./x.py"]),
        ("x", ["pkg/../x.py"]),
        ("x.py", ["x.py"]),
        ("__main__", ["x.py"]),
        ("x", ["-m", "x"]),
        ("my-hook", ["my-hook.py"]),
        ("my-hook.py", ["my-hook.py"]),
        ("my-hook", ["my-hook"]),
        ("work/my-hook.py", ["my-hook.py"]),
        ("pkg.mod", ["-m", "pkg.mod", "a"]),
        ("pkg.mod", ["pkg/mod.py"]),
        ("pkg/mod.py", ["pkg/mod.py"]),
        ("pkg", ["-m", "pkg"]),
        ("pkg.__main__", ["-m", "pkg"]),
        ("__main__", ["-m", "pkg.mod"]),
        ("__main__", ["pkg"]),
        ("pkg", ["pkg"]),
        ("x", ["-X", "utf8", "-W", "error", "-B", "x.py"]),
        ("x", ["-P", "x.py"]),
    ],
)
def test_a_script_is_watched_however_it_is_started(
    work: Path, spans: Spans, module: str, words: list[str]
) -> None:
    name_callables(work, module)
    assert_watched_as_ever(spans, [sys.executable, *words])


def test_a_script_with_a_shebang_is_watched(work: Path, spans: Spans) -> None:
    name_callables(work, "my-hook")
    assert_watched_as_ever(spans, ["./my-hook"])


def test_a_script_that_uv_runs_is_watched(
    work: Path, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_callables(work, "x")
    monkeypatch.setenv("UV_CACHE_DIR", str(work.parent / "uv"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    words = [str(BIN / "uv"), "run", "--quiet", "--python", os.path.realpath(sys.executable)]
    start(*words, "--script", "x.py")  # makes the script's environment
    assert_watched_as_ever(spans, [*words, "--script", "x.py"])


def test_an_archive_is_watched(work: Path, spans: Spans) -> None:
    name_callables(work, "tool")
    source = work / "source"
    source.mkdir()
    # The source of what lies in an archive has to be looked for there.
    (source / "__main__.py").write_text(SCRIPT)
    zipapp.create_archive(source, work / "tool.pyz")
    shutil.rmtree(source)
    assert_watched_as_ever(spans, [sys.executable, "tool.pyz"])


def test_a_compiled_script_is_watched(work: Path, spans: Spans) -> None:
    name_callables(work, "x")
    code = "import py_compile; py_compile.compile('x.py', 'x.pyc', doraise=True)"
    assert start(sys.executable, "-c", code)[0] == 0
    (work / "x.py").unlink()
    assert_watched_as_ever(spans, [sys.executable, "x.pyc"])


@pytest.mark.parametrize("words", [["x.py", "fail"], ["-m", "pkg.mod", "fail"]])
def test_a_script_that_fails_ends_with_its_own_traceback(work: Path, words: list[str]) -> None:
    (work / "orchwatch.toml").write_text('[instrument]\n"__main__:spawn" = "agent.spawn"\n')
    code, printed, errors = start(*RUN, sys.executable, *words)
    assert (code, printed, errors) == start(sys.executable, *words)
    assert code == 1
    assert "TypeError" in errors


@pytest.mark.parametrize(
    "content",
    ["def spawn(:\n", "\0", "# coding: nosuch\ndef spawn(): pass\n", "raise SystemExit(7)\n"],
)
def test_what_the_interpreter_says_of_a_broken_script_stays(work: Path, content: str) -> None:
    (work / "orchwatch.toml").write_text('[instrument]\n"__main__:spawn" = "agent.spawn"\n')
    (work / "x.py").write_text(content)
    assert start(*RUN, sys.executable, "x.py") == start(sys.executable, "x.py")


def test_a_script_that_is_a_pipe_is_left_to_the_interpreter(work: Path, spans: Spans) -> None:
    name_callables(work, "__main__")
    words = ["bash", "-c", f"{sys.executable} <(echo 'print(1)')"]
    assert start(*RUN, *words) == (0, "1\n", "")
    assert [span["name"] for span in spans()] == ["command.run"]


def test_a_function_that_the_script_lacks_is_one_warning(work: Path) -> None:
    (work / "orchwatch.toml").write_text(
        '[instrument]\n"x:spwan" = "agent.spawn"\n"x:Store" = "a"\n"other:f" = "b"\n'
    )
    (work / "tools").mkdir()
    (work / "tools" / "other.py").touch()
    lines = start(*RUN, sys.executable, "x.py")[2].splitlines()
    cannot = "cannot be watched as"
    assert sorted(lines) == [
        f"orchwatch: x:Store {cannot} a: it is a class; name its method, such as __init__",
        f"orchwatch: x:spwan {cannot} agent.spawn: x.py defines no function 'spwan'",
    ]


def test_opentelemetry_instrument_watches_the_script_too(work: Path, spans: Spans) -> None:
    name_callables(work, "x")
    assert start(str(BIN / "opentelemetry-instrument"), sys.executable, "x.py")[::2] == (0, "")
    assert sorted(span["name"] for span in spans()) == sorted(WATCHED[:-1])


POOL = """\
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

def work(number):
    return number * 2

def outer(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        results = pool.map(work, [1, 2, 3])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        results.append(pool.submit(work, 4).result())
    process = context.Process(target=work, args=(5,))
    process.start()
    process.join()
    print(results, process.exitcode)

if __name__ == "__main__":
    outer(sys.argv[1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("words", [["jobs.py"], ["-m", "jobs"]])
def test_functions_of_the_script_are_watched_in_its_pools(
    work: Path, spans: Spans, words: list[str], method: str
) -> None:
    (work / "jobs.py").write_text(POOL)
    (work / "orchwatch.toml").write_text(
        '[instrument]\n"jobs:work" = "work"\n"jobs:outer" = "outer"\n'
    )
    assert start(*RUN, sys.executable, *words, method) == (0, "[2, 4, 6, 8] 0\n", "")
    assert sorted(span["name"] for span in spans()) == ["command.run", "outer", *["work"] * 5]
