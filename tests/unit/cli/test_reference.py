"""docs/cli.md has every command and every option that its own help shows."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orchwatch
from orchwatch.cli import reference
from orchwatch.cli.main import COMMANDS, main
from orchwatch.tui import panels

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(orchwatch.__file__).parents[2] / reference.FILE


def sections() -> dict[str, str]:
    parts = re.split(r"^## orchwatch (.+)$", DOCS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_each_command_and_sub_command_has_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^  ([a-z-]+)  ", shown(capsys).partition("options:")[0], re.MULTILINE)
    assert tuple(listed) == COMMANDS
    of_others = {"kpi list", "kpi set", "claude import", "claude install", "claude uninstall"}
    of_others |= {f"fleet {name}" for name in ("join", "run", "status", "resend", "leave")}
    of_others |= {f"fleet token{name}" for name in ("", " add", " list", " revoke")}
    of_others |= {f"bench {name}" for name in ("run", "load", "stress")}
    of_others |= {f"baseline {name}" for name in ("save", "show", "compare", "list", "history")}
    assert set(sections()) == {*COMMANDS, *of_others}


@pytest.mark.parametrize("command", sections())
def test_each_option_is_in_the_section_of_its_command(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with suppress(SystemExit):  # argparse ends so
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: orchwatch")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}
    assert options <= set(re.findall(r"--[a-z][a-z-]*", sections()[command]))
    documented = re.findall(r"^\| `(--[a-z-]+)", sections()[command], re.MULTILINE)
    assert set(documented) <= options


def test_the_page_is_the_same_in_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert reference.page() == DOCS.read_text()


def said(source: Path) -> Iterator[str]:
    """The texts in a module that are no docstrings."""
    tree = ast.parse(source.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_a_command_that_a_person_is_pointed_to_is_one_that_runs() -> None:
    known = sections()
    groups = {name.rpartition(" ")[0] for name in known} - {""}
    named = {
        words
        for source in Path(orchwatch.__file__).parent.rglob("*.py")
        for text in said(source)
        for words in re.findall(r"`orchwatch ([a-z-]+(?: [a-z-]+)*)", text)
    }
    assert "kpi list" in named
    for words in named:
        if words == "help":
            continue
        fitting = max((name for name in known if f"{words} ".startswith(f"{name} ")), default="")
        assert fitting, words
        assert fitting not in groups or "| argument |" in known[fitting], words


def test_where_nothing_is_stored_the_import_of_any_agent_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("current", "sessions", "agents", "traces"):
        assert main([command]) == 0
        assert "orchwatch import" in capsys.readouterr().out
    for command in ("tokens", "hooks", "forecast"):
        assert main([command, "--since", "all"]) == 0
        assert "orchwatch import takes in recorded sessions" in capsys.readouterr().out
    assert "orchwatch import" in panels.nothing(str(home)).plain


def test_an_argument_is_spelt_as_one_writes_it() -> None:
    assert "| `--slowest [NAME]` |" in sections()["trace"]
    assert "| `PATH ...` |" in sections()["claude import"]
    assert "| `--color auto\\|always\\|never` |" in sections()["current"]
