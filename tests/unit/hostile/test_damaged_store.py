"""A store that is written to, whose last line is torn and whose oldest file is damaged.

Every command that reads answers, says what it left out, and exits 0.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.main import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.unit.hostile.conftest import Place

    Span = Callable[..., dict[str, Any]]
    Line = Callable[..., str]

S = 10**9
SEGMENTS, EACH = 4, 60
LEFT_OUT = "damaged and left out"
# Reads the store, as a person asks it; `{}` stands for a trace, `[]` for a file.
READING = (
    "current", "current --format json", "kpi list --since all", "sessions", "agents", "traces",
    "trace", "trace {}", "trace --slowest", "trace --failed", "trace --waterfall",
    "trace diff 48h..1h 1h..0s", "critical-path", "critical-path --session s1", "flame",
    "flame --since all", "flame --since all --format html", "flame --since all --format folded",
    "flame --since all --format speedscope", "flame --since all --format chrome", "hooks",
    "tokens --since all", "phases --since all", "phases --by session", "phases --by agent",
    "events --since all", "forecast", "forecast --format json", "report -o []",
    "report --format md", "report --format json", "export", "export --format prometheus",
    "export --format csv", "export --format parquet -o []", "export --step 1h",
    "baseline save now --recorded", "baseline compare now",
)  # fmt: skip
SQL = ("sql", "SELECT count(*) FROM ended_operations")
# Which write, watch, need a server, a terminal or files of others, or read none of the store.
OTHERS = {
    "run", "demo", "dashboard", "status-line", "monitor", "generate", "audit", "bench", "tune",
    "claude", "completion", "doctor", "sql", "bundle", "state", "import", "fleet",
}  # fmt: skip
WRITER = """
import time
from orchwatch import operation
print("began", flush=True)
while True:
    with operation("event.process", {"session.id": "live"}):
        time.sleep(0.005)
"""


@pytest.fixture
def damaged(place: Place, span: Span, line: Line) -> Iterator[Place]:
    """Closed segments in Parquet, the oldest damaged and gone from the spool; a live writer."""
    spool = place.home / "spool"
    spool.mkdir(parents=True, mode=0o700)
    now_ns = time.time_ns()
    for number in range(1, SEGMENTS + 1):
        header = {"orchwatch": {"id": os.urandom(16).hex()}, "resourceSpans": []}
        lines = [json.dumps(header) + "\n"]
        for one in range(EACH):
            end_ns = now_ns - (SEGMENTS - number) * 7200 * S - one * S
            lines.append(
                line(
                    span(
                        ("state.query", "hook.process", "agent.turn")[one % 3],
                        {"session.id": f"s{number % 2}", "gen_ai.agent.name": "w"},
                        traceId=f"{number * 100 + one // 3 + 1:032x}",
                        startTimeUnixNano=str(end_ns - S // 100),
                        endTimeUnixNano=str(end_ns),
                        status={"code": 2 if one % 7 == 0 else 1},
                    )
                )
            )
        (spool / f"operations-{number:06}.jsonl").write_text("".join(lines))
    (first,) = place.ask(["sql", SQL[1], "--format", "json"])
    assert json.loads(first.out)["rows"][0][0] >= SEGMENTS * EACH
    oldest = min((place.home / "store").glob("operations-000001.*.parquet"))
    content = bytearray(oldest.read_bytes())
    content[len(content) // 4 : len(content) * 3 // 4] = bytes(len(content) // 2)
    oldest.write_bytes(content)
    (spool / "operations-000001.jsonl").unlink()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], env=place.environment(), stdout=subprocess.PIPE
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            yield place
        finally:
            writer.kill()


def tear(place: Place, line: Line, span: Span) -> None:
    """Half a line at the end of a segment, as a write leaves it that was cut off."""
    newest = max((place.home / "spool").glob("operations-*.jsonl"))
    with newest.open("ab") as file:
        file.write(line(span()).encode()[:60])


def test_every_command_answers_and_says_what_it_left_out(
    damaged: Place, span: Span, line: Line
) -> None:
    tear(damaged, line, span)
    trace, output = f"{SEGMENTS * 100 + 1:032x}", str(damaged.root / "out")
    asked = [
        [{"{}": trace, "[]": output}.get(word, word) for word in words.split()] for words in READING
    ]
    for answer in damaged.ask(*asked, SQL):
        assert answer.code == 0, answer
        assert LEFT_OUT in answer.err, answer
        assert answer.out or output in answer.words, answer
    (counted,) = damaged.ask([*SQL, "--format", "json"])
    (((number,),),) = [json.loads(counted.out)["rows"]]
    assert number > (SEGMENTS - 1) * EACH
    doctor, current = damaged.ask(["doctor"], ["current", "--format", "json", "--since", "all"])
    assert LEFT_OUT in doctor.out + doctor.err
    kept = json.loads(current.out)["operations"]
    # What ran the commands recorded some, too.
    assert (SEGMENTS - 1) * EACH <= 3 * kept["state.query"]["count"] < SEGMENTS * EACH
    assert kept["event.process"]["count"] > 0


def test_each_command_that_reads_is_among_them() -> None:
    asked = {words.split()[0] for words in READING}
    assert asked | OTHERS >= set(COMMANDS)
    assert not asked & OTHERS
    assert all(re.fullmatch("[a-z-]+", name) for name in asked)
