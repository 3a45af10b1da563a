"""Whole homes, followed while their files grow, come to the spans of a look at their end."""

from __future__ import annotations

import json
import os
import shutil
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.conftest import SHARED

from orchwatch.agents import registry
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.fields import time_ns
from orchwatch.monitor.other_agents import OtherAgent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.agents.sessions.spans import Span

pytestmark = pytest.mark.usefixtures("home")

HOURS_NS = 5 * 3600 * 1_000_000_000
LATER_NS = 300_000_000
# The agent, its home, and the variable that says where that is.
HOMES = [
    ("gemini-cli", SHARED / "gemini-0.61.0" / "home", "GEMINI_CLI_HOME"),
    ("qwen-code", SHARED / "qwen-0.24.4" / "home" / ".qwen", "QWEN_HOME"),
]


class Live:
    """The monitor's part that follows one agent, by a clock of its own."""

    def __init__(self, name: str) -> None:
        self.spans: dict[str, Span] = {}
        self._name = name
        self._claims = Claims()
        self._moments = count(1_000_000_000, 1000)
        self._agent = OtherAgent(registry.named(name), self._claims, 0, {})

    def look(self, now_ns: int) -> None:
        self._agent.step(next(self._moments))
        found = self._agent.finished(now_ns)
        self._claims.mark(found)
        for span in found:
            self.spans.setdefault(span.span_id, span)

    def restart(self) -> None:
        saved = json.loads(json.dumps(self._agent.save()))
        self._agent = OtherAgent(registry.named(self._name), self._claims, 0, saved)


def times(value: Any) -> Iterator[int]:
    """All that a line says, of which the last one is about when it was written."""
    if isinstance(value, dict):
        for member in value.values():
            yield from times(member)
    elif isinstance(value, list):
        for member in value:
            yield from times(member)
    else:
        yield time_ns(value) or 0


def written(home: Path) -> list[tuple[int, Path, str]]:
    """The lines of a home in the order of their times, each with its file."""
    lines = []
    for path in sorted(home.rglob("*.jsonl")):
        now_ns = 0
        for line in path.read_text().splitlines(keepends=True):
            now_ns = max(now_ns, *times(json.loads(line)))
            lines.append((now_ns, path.relative_to(home), line))
    return sorted(lines, key=lambda one: one[0])


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("agent", HOMES, ids=lambda agent: agent[0])
def test_a_home_that_grows_gives_the_spans_of_its_end(
    agent: tuple[str, Path, str], every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, home, variable = agent
    if not home.is_dir():
        pytest.skip("the whole homes are not here")
    place = tmp_path / "place"
    monkeypatch.setenv(variable, str(place))
    for beside in [*home.rglob("*.meta.json"), *home.rglob(".project_root")]:
        copy = place / beside.relative_to(home)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(beside, copy)
    live, lines = Live(name), written(home)
    for number, (now_ns, where, line) in enumerate(lines):
        path = place / where
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(line)
        os.utime(path, ns=(now_ns, now_ns))
        if number % every == 0:
            live.look(now_ns + LATER_NS)
        if number % 23 == 0:
            live.restart()
    end_ns = lines[-1][0] + HOURS_NS
    live.look(end_ns)
    at_once = Live(name)
    at_once.look(end_ns)
    assert len(at_once.spans) > 20
    assert live.spans == at_once.spans
