"""docs/json.md has every key that a command writes, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orchwatch
from orchwatch import count, exporting, operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(orchwatch.__file__).parents[2] / "docs" / "json.md"
SECTIONS = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
# Keys of these are names of what was measured.
MAPS = {"operations", "levels", "metrics", "attributes", "resource"}


def documented() -> dict[str, set[str]]:
    found = {}
    for command, text in SECTIONS.findall(DOCS.read_text()):
        firsts = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        found[command] = {key for first in firsts for key in re.findall("`(.+?)`", first)}
    return found


def keys(value: Any, path: str = "", *, named: bool = False) -> Iterator[str]:
    if isinstance(value, dict) and (value or named):
        for key, entry in value.items():
            step = "*" if named else key
            yield from keys(entry, f"{path}.{step}".lstrip("."), named=key in MAPS and not named)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from keys(entry, f"{path}.*".lstrip("."))
    else:
        yield path


@pytest.mark.parametrize("command", documented())
@pytest.mark.usefixtures("home")
def test_the_documented_keys_are_those_of_the_output(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    count("cache.evictions", 3)
    exporting.begin("shop", "http://localhost:4318")
    with operation("agent.turn", {"session.id": "s"}):
        pass
    with (
        pytest.raises(ValueError, match="wrong"),
        operation("tool.execute", {"session.id": "s", "gen_ai.agent.name": "a", "x": "y"}),
    ):
        raise ValueError("wrong")
    assert main([*command.split(), "--format", "json"]) in (0, 3)
    out = capsys.readouterr().out
    documents = out.splitlines() if command == "events" else [out]
    found = {key for document in documents for key in keys(json.loads(document))}
    assert found == documented()[command]
