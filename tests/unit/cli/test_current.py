from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record


def current(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["current", *options]) == 0
    return capsys.readouterr().out


def test_an_empty_home_is_no_error_and_says_what_to_do(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = current(capsys)
    assert text.startswith(f"Nothing was measured yet in {home}")
    assert "orchwatch demo" in text
    assert "recovery.run" in text
    found = json.loads(current(capsys, "--format", "json"))
    assert {row["status"] for row in found["operations"].values()} == {"unknown"}
    assert not home.exists()


@pytest.mark.usefixtures("home")
def test_operations_are_shown_as_soon_as_they_have_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(3):
        with operation("state.query"):
            pass
    with pytest.raises(KeyError), operation("my.own"):
        raise KeyError
    found = json.loads(current(capsys, "--format", "json"))["operations"]
    assert found["state.query"]["count"] == 3
    assert found["state.query"]["under_target"] == 1
    assert found["state.query"]["status"] == "ok"
    assert (found["my.own"]["count"], found["my.own"]["errors"]) == (1, 1)
    text = current(capsys)
    assert "my.own" in text
    assert "Failed: my.own 1 of 1 (orchwatch trace --failed shows" in " ".join(text.split())
    assert "Nothing was measured" not in text


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("window", ["0", "24", "h", "-5m", "5w", "٣m", "1.5h"])
def test_a_window_that_is_none_is_a_usage_error(
    window: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["current", f"--since={window}"]) == 2
    assert "--since must be like" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("window", ["90s", "15m", "24h", "7d", "all"])
def test_a_window_is_a_number_and_a_unit_or_all(
    window: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with operation("state.query"):
        pass
    found = json.loads(current(capsys, "--format", "json", "--since", window))
    assert (found["since"] is None) == (window == "all")
    assert found["operations"]["state.query"]["count"] == 1


@pytest.mark.usefixtures("home")
def test_colour_is_for_terminals_and_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in current(capsys)
    assert "\x1b" in current(capsys, "--color", "always")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b" in current(capsys)
    assert "\x1b" not in current(capsys, "--color", "never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in current(capsys)


def test_without_duckdb_the_remedy_is_one_clear_line(home: Path, tmp_path: Path) -> None:
    # A store that holds what the spool does not.
    (home / "store").mkdir(parents=True)
    (home / "store" / f"operations-000001.{'a' * 32}.1.0.v3.parquet").touch()
    # A finder that knows no duckdb is what an installation without the extra looks like.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('duckdb', '_duckdb'):\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "current"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ORCHWATCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert "pip install 'orchwatch[local]'" in found.stderr


def test_levels_of_operations_say_that_those_without_a_target_do_not_count(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        record("state.query")
        record("mine.alone", failed=True)
    assert main(["current"]) == 0
    out = capsys.readouterr().out
    for title in ("System availability", "Operations that fail"):
        (line,) = (line for line in out.splitlines() if line.startswith(title))
        assert line.endswith("  3 with a target  ok")
    assert "Failed: mine.alone 3 of 3" in out
