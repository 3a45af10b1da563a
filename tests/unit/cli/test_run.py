from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.commands import run
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ORCHWATCH_RUN = [sys.executable, "-m", "orchwatch.cli", "run"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "run: there is no command; usage: orchwatch run -- COMMAND [ARGUMENT ...]"),
        (["--"], "run: there is no command; usage: orchwatch run -- COMMAND [ARGUMENT ...]"),
        (["--colour", "--", "true"], "run: unknown option --colour; see orchwatch run --help"),
        (["--operation"], "run: --operation needs a value"),
        (["--operation=", "true"], "run: --operation needs a name that is not empty"),
        (["--attribute", "a", "true"], "run: --attribute must be spelt KEY=VALUE, not 'a'"),
        (["--attribute", "=a", "true"], "run: --attribute must be spelt KEY=VALUE, not '=a'"),
    ],
)
def test_a_wrong_option_is_named(words: list[str], complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        run.main(words)
    assert str(raised.value) == complaint


@pytest.mark.parametrize(
    "words",
    [
        ["--operation", "state.query", "--attribute", "a=b=c", "--attribute", "d=", "--"],
        ["--operation=state.query", "--attribute=a=b=c", "--attribute=d="],
    ],
)
def test_options_name_the_operation_and_its_attributes(home: Path, words: list[str]) -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv)", "--operation", "--", "-x"]
    ended = subprocess.run(
        [*ORCHWATCH_RUN, *words, *command], check=True, capture_output=True, text=True, timeout=240
    )
    assert ended.stdout == "['-c', '--operation', '--', '-x']\n"
    line = (home / "spool" / "operations-000001.jsonl").read_text().splitlines()[1]
    (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    attributes = {pair["key"]: pair["value"].get("stringValue") for pair in span["attributes"]}
    assert span["name"] == attributes["orchestration.operation.name"] == "state.query"
    assert (attributes["a"], attributes["d"]) == ("b=c", "")


def test_help_explains_and_runs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: orchwatch run [--operation NAME]")
    assert list(home.iterdir()) == []
