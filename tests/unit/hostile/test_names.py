"""Names that somebody made to be obeyed by a terminal, in every place that has a name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.hostile.conftest import Place

# CSI, OSC (title, clipboard, link), C1, DEL, BEL, line ends, directions, zero widths, separators.
HOSTILE = (
    "a\x1b[2J\x1b[31m\x1b]0;t\x07\x1b]52;c;eA==\x07\x1b]8;;file:///\x1b\\\x9b31m\x9d0;x\x9c\x90\x84"
    "\x7f\x08\r\n\tq\u202e\u2066\u2069\u200b\u200f\ufeff\u2028\u2029\U000e0041 日本"
)
LONG = "b" * 100_000
FLOOD = "Z" + "\u0301" * 9_999
NAMES = (HOSTILE, LONG, FLOOD)
SESSION = "0f8fad5b-d9cb-469f-a165-70867728950e"
T = "2026-11-29T10:00:0{}.000Z"

_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("current",), ("current", "--since", "all"), ("current", "--format", "json"),
    ("sessions",), ("sessions", "--format", "json"), ("agents",), ("agents", "--format", "json"),
    ("traces",), ("traces", "--format", "json"), ("trace",), ("trace", "--failed"),
    ("trace", "--format", "json"), ("events",), ("events", "--color", "always"),
    ("events", "--format", "json"), ("kpi", "list"), ("kpi", "list", "--format", "json"),
    ("status-line", "--no-color"), ("status-line", "--format", "json"), ("doctor",),
    ("doctor", "--format", "json"), ("audit",), ("claude", "import"),
    ("claude", "import", "--format", "json"), ("claude", "install", "--dry-run"),
    ("claude", "install", "--hooks", "command"), ("claude", "uninstall"), ("generate", "--check"),
)  # fmt: skip


@pytest.fixture
def named(place: Place, span: Callable[..., dict[str, Any]], line: Callable[..., str]) -> Place:
    """A place where everything has hostile names."""
    lines = []
    for name in NAMES:
        who = dict.fromkeys(
            ("error.type", "session.id", "gen_ai.agent.name", "gen_ai.tool.name", name), name
        )
        lines.append(line(span(name, who, status={"code": 2, "message": name}), service=name))
    place.write("operations", lines)
    place.write("history", lines)
    texts = {"stringValue": HOSTILE}
    keys = ("alertname", "severity", "summary", "description", "operation", "state")
    record = {
        "timeUnixNano": "1795900000000000000",
        "severityText": HOSTILE,
        "eventName": HOSTILE,
        "body": texts,
        "attributes": [{"key": key, "value": texts} for key in keys],
    }
    place.write(
        "events", [json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}) + "\n"]
    )
    (place.home / "losses").write_text(f"{HOSTILE.replace(chr(10), ''):<40} {5:>20}\n")
    (place.project / "coverage.json").write_text(json.dumps({HOSTILE: 1}))
    (place.project / "coverage.xml").write_text("<\x1b[2J\x9b>")
    project = place.claude / "projects" / "-p\x1b[2J\u202e"
    project.mkdir()
    used = {"type": "tool_use", "id": "t1", "name": HOSTILE, "input": {"a": HOSTILE}}
    failed = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": HOSTILE}
    told: list[dict[str, Any]] = [
        {
            "type": "user",
            "uuid": "u1",
            "promptId": "p",
            "cwd": HOSTILE,
            "message": {"content": "x"},
        },
        {"type": "assistant", "uuid": "a1", "message": {"model": HOSTILE, "content": [used]}},
        {"type": "user", "uuid": "u2", "message": {"content": [failed]}},
        {"type": HOSTILE, "uuid": "u3"},
    ]
    (project / f"{SESSION}.jsonl").write_text(
        "".join(
            json.dumps({"sessionId": SESSION, "timestamp": T.format(number), **one}) + "\n"
            for number, one in enumerate(told)
        )
    )
    (project / "x\x1b[2J\n.jsonl").write_text("no session\n")
    (place.claude / "settings.json").write_text(json.dumps({"env": {HOSTILE: HOSTILE}}))
    return place


def test_no_command_hands_a_terminal_anything_to_obey(named: Place) -> None:
    for answer in named.ask(*_COMMANDS):
        if "json" not in answer.words:
            assert max(map(len, answer.out.splitlines()), default=0) < 6000, answer.words


def test_a_parser_gets_names_back_to_the_letter(named: Place) -> None:
    current, traces, failed = named.ask(
        ["current", "--since", "all", "--format", "json"],
        ["traces", "--format", "json"],
        ["events", "--format", "json"],
    )
    assert set(NAMES) <= json.loads(current.out)["operations"].keys()
    assert set(NAMES) <= {one["name"] for one in json.loads(traces.out)["traces"]}
    assert set(NAMES) <= {json.loads(line)["name"] for line in failed.out.splitlines()}


def test_words_of_the_command_line_are_said_back_safely(place: Place) -> None:
    word = HOSTILE.replace("\0", "")
    for answer in place.ask(
        [word], [f"--{word}"], ["current", word], ["current", f"--{word}"],
        ["current", "--since", word], ["current", "--format", word], ["current", "--session", word],
        ["trace", word], ["trace", "--slowest", word], ["kpi", word], ["kpi", "set", word, "1"],
        ["kpi", "set", "test.coverage", word], ["status-line", word], ["run", f"--{word}"],
        ["run", "--attribute", word, "--", "true"], ["run", "--", f"/nowhere/{word}"],
        ["claude", word], ["claude", "import", word], ["generate", "--output", f"/dev/null/{word}"],
        ["audit", "--tempo-url", word], ["events", "--limit", word], ["monitor", f"--{word}"],
    ):  # fmt: skip
        assert answer.code or "--attribute" in answer.words, answer
        assert answer.err.count("\n") <= 1, answer


@pytest.mark.parametrize(
    "table",
    [
        '[operations."{}"]\ntarget_ms = 1\n',
        '[operations."a.b"]\ntarget = "{}"\n',
        '[operations."a.b"]\ntarget_s = 1.0\ntitle = "{}"\nrecommendation = "{}"\n',
        '["{}"]\nx = 1\n',
        '[instrument]\n"{}:x" = "y"\n',
        '[instrument]\n"a:b" = "{}"\n',
        '[levels."{}"]\ntarget = 1\n',
        '[alerting]\ngrafana = "{}"\n',
    ],
)
def test_a_table_of_a_checkout_is_named_safely(table: str, place: Place) -> None:
    name = json.dumps(HOSTILE)[1:-1].replace("\\udb40\\udc41", "")  # TOML's escapes are JSON's
    (place.project / "orchwatch.toml").write_text(table.replace("{}", name))
    place.ask(("current",), ("doctor",), ("generate", "--output", "out"), ("run", "true"))


def test_a_home_of_that_name_is_named_safely(place: Place) -> None:
    name = HOSTILE.replace("/", "")[:80]
    place.home = place.root / name
    place.ask(*_COMMANDS[:4], ("doctor",), ("trace",), ("events",), ("claude", "import"))
