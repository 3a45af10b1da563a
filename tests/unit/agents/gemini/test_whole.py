"""Sessions of early versions: one JSON document each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.conftest import used
from tests.unit.agents.gemini.conftest import SESSION, START_S, at, call, ns
from tests.unit.agents.imported import add, followed, in_memory

from orchwatch.agents.gemini.reader import Gemini
from orchwatch.agents.sessions.claims import Claims
from orchwatch.cli.main import main
from orchwatch.monitor.other_agents import OtherAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.agents.conftest import Span

pytestmark = pytest.mark.usefixtures("home")
TOKENS = {"input": 100, "output": 10, "cached": 60, "thoughts": 4, "tool": 0, "total": 114}


def answer(second: float, own: str, **more: Any) -> dict[str, Any]:
    told = {"id": own, "timestamp": at(second), "type": "gemini", "content": "a secret"}
    return {**told, "tokens": TOKENS, "model": "gemini-2.5-pro", "thoughts": [], **more}


MESSAGES = [
    {"id": "p1", "timestamp": at(1), "type": "user", "content": "a secret question"},
    answer(3, "m1", toolCalls=[call("c1", 5)]),
    answer(7, "m2"),
    {"id": "p2", "timestamp": at(60), "type": "user", "content": "another"},
    answer(64, "m3"),
]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEMINI_CLI_HOME", str(tmp_path))
    found = tmp_path / ".gemini" / "tmp" / ("a" * 64) / "chats" / "session-2025-11-01T10-0f7b.json"
    found.parent.mkdir(parents=True)
    return found


def write(path: Path, number: int = len(MESSAGES)) -> None:
    """As the client does: anew, with one message more."""
    about = {"sessionId": SESSION, "projectHash": "a" * 64, "startTime": at(0)}
    whole = {**about, "lastUpdated": at(number), "messages": MESSAGES[:number]}
    path.write_text(json.dumps(whole, indent=2))
    os.utime(path, (START_S + number, START_S + number))


def test_a_session_in_one_document_is_read(path: Path, imported: Callable[[], list[Span]]) -> None:
    write(path)
    summary = add(Gemini(), path)
    turns = [span for span in imported() if span.is_turn]
    assert [(span.start_ns, span.end_ns) for span in turns] == [(ns(1), ns(7)), (ns(60), ns(64))]
    assert used(*turns)["input"] == 300
    assert summary.tools == {"read_file": 1}
    assert not summary.skipped
    assert "secret" not in "".join(json.dumps(span.attributes) for span in imported())
    assert add(Gemini(), path).spans == 0


def test_one_that_grew_adds_what_is_new(path: Path) -> None:
    write(path, 3)
    first = add(Gemini(), path).spans
    write(path)
    whole, _, _ = in_memory(Gemini(), path)
    assert first + add(Gemini(), path).spans == len(whole)


def test_it_is_found_among_what_the_client_keeps_besides(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(path)
    (path.parent.parent / "logs.json").write_text("[]")
    (path.parent / "session-other.json").write_text("{}")
    assert main(["import", "--agent", "gemini-cli", "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["turns"], added["skipped"]) == (2, {"file of no session": 1})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sessionId": 1}', b"\xff\xfe"])
def test_what_is_none_is_no_session(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found, strange = Gemini().find([str(path)])
    assert (found, strange) == ([], [str(path)])


def test_what_is_cut_off_is_counted(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-40])
    spans, skipped, _ = in_memory(Gemini(), path)
    assert (spans, skipped) == ([], {"no JSON": 1})


def test_followed_as_it_is_written_it_gives_the_spans_of_its_end(path: Path) -> None:
    def written() -> Iterator[None]:
        for number in range(1, len(MESSAGES) + 1):
            write(path, number)
            yield

    found = followed(OtherAgent(Gemini(), Claims(), 0, {}), written())
    whole, _, _ = in_memory(Gemini(), path)
    assert {span.span_id for span in whole} == found.keys()
    turns = [span for span in found.values() if span.operation == "agent.turn"]
    assert sum(int(str(span.attributes["gen_ai.usage.input_tokens"])) for span in turns) == 300
