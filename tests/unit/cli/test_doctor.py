from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCTOR = [sys.executable, "-m", "orchwatch.cli", "doctor"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user who has nothing yet."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "ORCHWATCH_HOME": str(tmp_path / "home"),
        # Where no server of another test listens: the discard port.
        "ORCHWATCH_COLLECTOR_HEALTH_PORT": "9",
        "ORCHWATCH_PROMETHEUS_PORT": "9",
        "ORCHWATCH_TEMPO_HTTP_PORT": "9",
        "ORCHWATCH_ALERTMANAGER_PORT": "9",
    }


def doctor(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DOCTOR, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=environment["HOME"],
        env=environment,
    )


def test_a_user_who_has_nothing_yet_is_fine(environment: dict[str, str]) -> None:
    ended = doctor(environment)
    assert ended.returncode == 0
    assert ended.stderr == ""
    states = {line.split()[0] for line in ended.stdout.splitlines() if not line.startswith(" ")}
    assert states <= {"ok", "warn", "unknown"}


def test_on_a_terminal_a_check_continues_below_itself_and_in_a_pipe_it_is_one_line(
    environment: dict[str, str],
) -> None:
    wide = doctor(environment).stdout.splitlines()
    narrow = doctor({**environment, "COLUMNS": "60"}).stdout.splitlines()
    (configuration,) = (line for line in wide if " configuration " in line)
    assert "callables that are watched" in configuration
    assert len(narrow) > len(wide)
    long = [line for line in narrow if len(line) > 60]
    assert all(len(line.split()) <= 3 for line in long), "only what must stay whole is longer"


def test_looking_leaves_nothing_behind(environment: dict[str, str]) -> None:
    doctor(environment)
    assert list(Path(environment["HOME"]).iterdir()) == []


def test_a_failure_is_exit_code_3_and_names_the_check(environment: dict[str, str]) -> None:
    Path(environment["ORCHWATCH_HOME"]).touch()
    ended = doctor(environment)
    assert ended.returncode == 3
    assert ended.stderr == "orchwatch: 1 failed: home\n"
    lines = ended.stdout.splitlines()
    (failed,) = (number for number, line in enumerate(lines) if line.startswith("fail "))
    assert lines[failed + 1].split()[0] == "->"


def test_json_says_the_same_as_the_table(environment: dict[str, str]) -> None:
    Path(environment["ORCHWATCH_HOME"]).touch()
    ended = doctor(environment, "--format", "json")
    assert ended.returncode == 3
    checks = json.loads(ended.stdout)["checks"]
    assert {frozenset(check) for check in checks} == {
        frozenset({"name", "state", "found", "remedy"})
    }
    table = doctor(environment, "--format", "table").stdout
    for check in checks:
        if check["name"] not in ("disk", "python"):
            assert f" {check['name']} " in table
