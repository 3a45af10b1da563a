"""Small session files, each with a fault that files have had, and what is right.

`tests/data/claude-cases/CASE/` is what lies in a project's folder; with `step-1/`, `step-2/`, …
each is copied over the one before, in place, and imported in turn. `expected.json` says what comes
of it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parents[3] / "data" / "claude-cases"
TOLERANCE_S = 0.15
USED = "gen_ai.usage."
TOKENS = {
    "input": USED + "input_tokens",
    "output": USED + "output_tokens",
    "cache_read": USED + "cache_read.input_tokens",
    "cache_creation": USED + "cache_write.input_tokens",
}


class Span:
    def __init__(self, raw: dict[str, Any]) -> None:
        self.key, self.name = (raw["traceId"], raw["spanId"]), raw["name"]
        self.parent = (raw["traceId"], raw.get("parentSpanId", ""))
        self.kind = raw["name"].partition(" ")[0]
        self.start_ns, self.end_ns = int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"])
        self.failed = raw["status"]["code"] == 2
        self.attributes = raw["attributes"]
        self.above: list[Span] = []

    def get(self, name: str) -> Any:
        return self.attributes.get(name)

    def told(self, key: str) -> Any:
        """What `expected.json` calls so."""
        return {
            "id": self.get("gen_ai.agent.id"),
            "agent": self.get("gen_ai.agent.id"),
            "name": self.get("gen_ai.tool.name"),
            "type": self.get("gen_ai.agent.name"),
            "closed": self.get("orchestration.unfinished.reason"),
            "error": self.failed,
            "under": self.above[0].name if self.above else None,
            "duration_s": pytest.approx((self.end_ns - self.start_ns) / 1e9, abs=TOLERANCE_S),
        }[key]


@pytest.fixture
def spans(history: Callable[[], list[dict[str, Any]]]) -> Callable[[], list[Span]]:
    def read() -> list[Span]:
        found = sorted(map(Span, history()), key=lambda span: (span.start_ns, span.end_ns))
        by_key = {span.key: span for span in found}
        assert len(by_key) == len(found), "a span was written twice"
        for span in found:
            at = span
            while at.parent[1]:
                at = by_key[at.parent]  # every parent is there
                assert at is not span
                assert len(span.above) < len(found), "a circle"
                span.above.append(at)
        return found

    return read


def copy(step: Path, target: Path) -> None:
    """As a program that rewrites its files: the same files, other bytes."""
    for path in step.rglob("*"):
        if path.is_file() and path.name != "expected.json":
            there = target / path.relative_to(step)
            there.parent.mkdir(parents=True, exist_ok=True)
            with there.open("wb") as file:
                file.write(path.read_bytes())


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_what_is_right_comes_of_it(
    case: Path,
    projects: Path,
    spans: Callable[[], list[Span]],
    capsys: pytest.CaptureFixture[str],
    home: Path,  # noqa: ARG001 - it is imported to
) -> None:
    expected = json.loads((case / "expected.json").read_text())
    arguments = expected.get("import_args", [])
    skipped: Counter[str] = Counter()
    for step in sorted(case.glob("step-*")) or [case]:
        copy(step, projects / "-w-garden")
        assert main(["claude", "import", "--format", "json", *arguments, str(projects)]) == 0
        skipped.update(json.loads(capsys.readouterr().out)["skipped"])
    found = spans()
    compare(expected["import"], found, skipped)
    assert main(["claude", "import", *arguments, str(projects)]) == 0
    assert len(spans()) == len(found), "importing again added spans"


def compare(want: dict[str, Any], found: list[Span], skipped: Counter[str]) -> None:
    runs = [span for span in found if span.kind == "invoke_agent"]
    tools = [span for span in found if span.kind == "execute_tool"]
    turns = [span for span in found if span.name == "agent.turn" and not span.told("agent")]
    got: dict[str, Any] = {
        "sessions": len({span.get("session.id") for span in found}),
        "turns": [{key: span.told(key) for key in ("closed", "duration_s")} for span in turns],
        "tool_calls": dict(Counter(span.told("name") for span in tools)),
        "errors": dict(
            Counter(
                span.kind
                for span in found
                if span.failed and (span.name != "agent.turn" or span in turns)
            )
        ),
        # A sub-agent's turns are parts of its run.
        "requests": sum(span.get("orchestration.api.requests") or 0 for span in [*turns, *runs]),
        "tokens": used([*turns, *runs]),
        "skipped": dict(skipped),
        "spans": {name: sum(span.name == name for span in found) for name in want.get("spans", {})},
    }
    if isinstance(want.get("tool_calls"), int):
        got["tool_calls"] = len(tools)
    for key in got.keys() & want.keys():
        assert got[key] == want[key], key
    assert len(runs) == len(want.get("agents", runs))
    for told, among in ((want.get("agents", []), runs), (want.get("calls", []), tools)):
        for one in told:
            fitting = [span for span in among if all(span.told(key) == one[key] for key in one)]
            assert fitting, one


def used(paid: list[Span]) -> dict[str, int]:
    """By kind; the input without the cached."""
    sums = {kind: sum(span.get(name) or 0 for span in paid) for kind, name in TOKENS.items()}
    sums["input"] -= sums["cache_read"] + sums["cache_creation"]
    return sums
