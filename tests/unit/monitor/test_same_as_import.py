"""Whoever looks at session files, and whenever: the same spans.

`ORCHWATCH_LOOKS=200` tries so many ways of looking for each recording instead of a few.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents import importer
from orchwatch.agents.claude_code.reader import ClaudeCode
from orchwatch.agents.claude_code.sessions import session_files as recorded_sessions
from orchwatch.agents.sessions.import_record import ImportRecord
from orchwatch.monitor import following, session_files
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.following import Following

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[2] / "data"
SHARED = Path(__file__).parents[4] / "shared" / "data"
ROUNDS = int(os.environ.get("ORCHWATCH_LOOKS", "3"))
# Of a fork and its origin the one that is read first owns what both hold.
FORKED = ("15-forked-session",)
DAY_S = 24 * 3600
HOUR_S = 3600
_TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ")


def _recordings() -> Iterator[Any]:
    for case in sorted((DATA / "claude-cases").iterdir()):
        steps = sorted(case.glob("step-*"))
        yield pytest.param(steps[-1] if steps else case, id=case.name)
    yield pytest.param(DATA / "claude", id="a session")
    for found in sorted((SHARED / "claude-2.1.328").glob("*/projects")):
        yield pytest.param(found, id=found.parent.name)


@pytest.fixture(params=_recordings())
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a recording that nobody has touched for a day."""
    copy = tmp_path / "projects" / Path(request.param).name
    shutil.copytree(request.param, copy, ignore=shutil.ignore_patterns("expected.json"))
    for path in copy.rglob("*"):
        os.utime(path, (time.time() - DAY_S,) * 2)
    return copy


class Clock:
    """Stands still but for what a test lets pass, however busy the machine is."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._start_ns = time.time_ns()

    def time(self) -> float:
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        return self._start_ns + int(self.ahead_s * 1e9)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(following, "time", found)
    monkeypatch.setattr(importer, "time", found)
    monkeypatch.setattr(session_files, "_ROUND_S", 1e-9)
    monkeypatch.setattr(following, "LIVE_S", time.time())  # nothing is left to the importer
    return found


def spans(home: Path) -> dict[str, tuple[Any, ...]]:
    """What the spool holds, by span id; no id comes twice."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted((home / "spool").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            for resource in json.loads(line).get("resourceSpans", []):
                for span in resource["scopeSpans"][0]["spans"]:
                    assert span["spanId"] not in found
                    found[span["spanId"]] = (
                        span["name"],
                        span["traceId"],
                        span.get("parentSpanId", ""),
                        int(span["startTimeUnixNano"]),
                        int(span["endTimeUnixNano"]),
                        span["status"],
                        json.dumps(span["attributes"], sort_keys=True),
                    )
    return found


def run_import(*paths: Path) -> None:
    found, _ = recorded_sessions.find(map(str, paths))
    with ImportRecord(lambda: None) as record:
        importer.import_sessions([(ClaudeCode(), one) for one in found], record, lambda _: None)


class Growing:
    """Files that come to be as a program writes them, and what may happen to them meanwhile."""

    def __init__(self, source: Path, target: Path, chance: random.Random) -> None:
        self._chance = chance
        self.whole = {
            target / path.relative_to(source): path.read_bytes()
            for path in sorted(source.rglob("*"))
            if path.is_file()
        }

    def steps(self) -> Iterator[None]:
        """Each ends at a moment in which somebody may look."""
        cuts = {path: self._cuts(content) for path, content in self.whole.items()}
        while cuts:
            path = self._chance.choice(list(cuts))
            size = cuts[path].pop(0)
            if not cuts[path]:
                del cuts[path]
            path.parent.mkdir(parents=True, exist_ok=True)
            written = path.stat().st_size if path.exists() else 0
            with path.open("ab") as file:
                file.write(self.whole[path][written:size])
            yield
            if self._chance.random() < 0.2:
                self._disturb(path)
                yield
        for path, content in self.whole.items():
            with path.open("ab") as file:
                file.write(content[path.stat().st_size :])
        yield

    def _cuts(self, content: bytes) -> list[int]:
        number = self._chance.choice((0, 1, 3, 6))
        return [
            *sorted(self._chance.randrange(len(content) + 1) for _ in range(number)),
            len(content),
        ]

    def _disturb(self, path: Path) -> None:
        content = path.read_bytes()
        kind = self._chance.choice(("cut", "replace", "touch"))
        if kind == "cut":
            os.truncate(path, self._chance.randrange(len(content) + 1))
        elif kind == "replace":
            other = path.with_name("other")
            other.write_bytes(content)
            other.replace(path)
        else:
            os.utime(path)


def difference(got: dict[str, tuple[Any, ...]], wanted: dict[str, tuple[Any, ...]]) -> list[Any]:
    """What is in one of them alone, or differs."""
    found = []
    for key in sorted({*got, *wanted}):
        one, other = got.get(key), wanted.get(key)
        if one is None or other is None:
            found.append(("only here", one) if one else ("not here", other))
        elif one != other:
            found.append(
                (one[0], *(pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]))
            )
    return found


@pytest.mark.any_python
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_followed_in_any_pieces_it_is_what_one_import_gives(
    source: Path, tmp_path: Path, seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(f"{source.name} {seed}")
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "imported"))
    run_import(source)
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "followed"))
    target = tmp_path / "live" / "-w"
    target.mkdir(parents=True)
    growing = Growing(source, target, chance)
    checkpoint = Checkpoint()
    found = Following(checkpoint, [str(target.parent)])
    for _ in growing.steps():
        action = chance.random()
        if action < 0.25:
            if action < 0.12:
                found.save()
            found.close()
            checkpoint.close()
            checkpoint = Checkpoint()
            found = Following(checkpoint, [str(target.parent)])
        if action < 0.8:
            for _ in range(chance.choice((1, 3))):
                found.step(1000.0)
    found.step(1000.0)
    clock.ahead_s = 2 * HOUR_S
    for _ in range(4):
        found.step(1000.0)
    found.close()
    checkpoint.close()
    wanted = spans(tmp_path / "imported")
    assert wanted
    followed = spans(tmp_path / "followed")
    if source.name not in FORKED:
        different = difference(followed, wanted)
        assert not different, different
    assert _totals(followed) == _totals(wanted)


def _totals(found: dict[str, tuple[Any, ...]]) -> Counter[Any]:
    """Requests and tokens in all, tools and sub-agents by id."""
    totals: Counter[Any] = Counter()
    for name, *_, attributes in found.values():
        given = {pair["key"]: pair["value"] for pair in json.loads(attributes)}
        if "gen_ai.tool.call.id" in given and name.startswith("execute_tool"):
            totals[json.dumps(given["gen_ai.tool.call.id"])] += 1
        elif name.startswith("invoke_agent") or "gen_ai.agent.id" not in given:
            if name.startswith("invoke_agent"):  # a run that went on may come in parts
                totals[json.dumps(given["gen_ai.agent.id"])] = 1
            for key, value in given.items():
                if key.startswith(("gen_ai.usage.", "orchestration.api.requests")):
                    totals[key] += int(value["intValue"])
    return totals


@pytest.mark.any_python
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_imported_again_and_again_while_it_comes_to_be_it_is_what_one_import_gives(
    source: Path, tmp_path: Path, seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(f"{source.name} {seed}")
    lasts_s = _move_to_now(source)
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "often"))
    target = tmp_path / "live" / "-w"
    target.mkdir(parents=True)
    for _ in Growing(source, target, chance).steps():
        if chance.random() < 0.6:
            run_import(target)
    clock.ahead_s = 2 * HOUR_S
    run_import(target)
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "once"))
    run_import(source)
    often, once = spans(tmp_path / "often"), spans(tmp_path / "once")
    if lasts_s < HOUR_S and source.name not in FORKED:
        different = difference(often, once)
        assert not different, different
    assert _totals(often) == _totals(once)


@pytest.mark.any_python
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_parts_of_an_old_recording_imported_one_after_another_lose_and_repeat_nothing(
    source: Path, tmp_path: Path, seed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del clock
    chance = random.Random(f"{source.name} {seed}")
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "once"))
    run_import(source)
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "often"))
    target = tmp_path / "live" / "-w"
    target.mkdir(parents=True)
    for _ in Growing(source, target, chance).steps():
        if chance.random() < 0.6:
            run_import(target)
    run_import(target)
    assert _totals(spans(tmp_path / "often")) == _totals(spans(tmp_path / "once"))


def _move_to_now(source: Path) -> float:
    """Gives every line a time so much later that the last one is of now.

    Returns:
        How many seconds lie between the first and the last.
    """
    texts = {path: path.read_text("utf-8", "surrogateescape") for path in source.rglob("*.jsonl")}
    times = [found for text in texts.values() for found in _TIME.findall(text)]
    moments = sorted(map(datetime.fromisoformat, times))
    ahead = datetime.now(UTC) - moments[-1] - timedelta(seconds=10)
    for path, text in texts.items():
        moved = _TIME.sub(lambda found: _iso(datetime.fromisoformat(found[0]) + ahead), text)
        path.write_text(moved, "utf-8", "surrogateescape")
    return (moments[-1] - moments[0]).total_seconds()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
