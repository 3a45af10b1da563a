"""The file of spans that Copilot CLI writes itself, as it grows."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from orchwatch.agents.copilot.reader import Copilot
from orchwatch.agents.copilot.spans import FailedRequests, Spans
from orchwatch.agents.sessions.facts import ApiFailed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

START_S = 1_780_000_000


def line(session: str, *, failed: bool = True, start: float = 0, end: float = 1) -> str:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.conversation.id": session,
        "github.copilot.interaction_id": "i",
        **({"error.type": "ModelCallError"} if failed else {}),
    }
    times = {
        f"{edge}Time": [START_S + int(at), round(at % 1 * 1_000_000_000)]
        for edge, at in (("start", start), ("end", end))
    }
    resource = {"attributes": {"service.name": "github-copilot"}}
    told = {"type": "span", "spanId": f"s{end}", "status": {"code": 2 if failed else 0}}
    return json.dumps({**told, **times, "attributes": attributes, "resource": resource}) + "\n"


def test_of_a_file_that_grows_only_what_was_appended_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "otel.jsonl"
    path.write_text(line("a") + line("b", failed=False))
    failed = FailedRequests(str(path))
    assert failed.sessions() == {"a"}
    looked_at = []
    whole = json.loads

    def noted(text: bytes) -> Any:
        looked_at.append(text)
        return whole(text)

    monkeypatch.setattr("orchwatch.agents.copilot.spans.json.loads", noted)
    assert failed.sessions() == {"a"}
    assert not looked_at
    with path.open("a") as file:
        file.write(line("c"))
    assert failed.sessions() == {"a", "c"}
    assert len(looked_at) == 1


def test_half_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "otel.jsonl"
    written = line("a") + line("b")
    for number in range(len(line("a")), len(written) + 1, 7):
        path.write_text(written[:number])
        found = FailedRequests(str(path)).sessions()
        assert "a" in found
    path.write_text(written[:-20])
    failed = FailedRequests(str(path))
    failed.sessions()
    path.write_text(written)
    assert failed.sessions() == {"a", "b"}


def test_a_file_that_was_cut_off_or_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "otel.jsonl"
    path.write_text(line("a") + line("b"))
    failed = FailedRequests(str(path))
    assert failed.sessions() == {"a", "b"}
    path.write_text(line("a"))
    assert failed.sessions() == {"a"}
    path.write_text(line("x") + line("y") + line("z"))
    assert failed.sessions() == {"x", "y", "z"}
    (tmp_path / "new").write_text(line("n") + line("y") + line("z"))
    os.replace(tmp_path / "new", path)
    assert failed.sessions() == {"n", "y", "z"}


def test_it_says_which_sessions_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "otel.jsonl"
    path.write_text(line("a"))
    reader = Copilot()
    assert reader.sessions_in(str(path)) == {"a"}
    assert reader.sessions_in(str(tmp_path / "gone")) == set()
    (tmp_path / "events.jsonl").write_text('{"type": "session.start"}\n')
    assert reader.sessions_in(str(tmp_path / "events.jsonl")) == set()


def test_a_request_that_is_tried_again_says_how_long_that_took() -> None:
    reader = Spans("a")
    assert not reader.read_record(json.loads(line("a", start=0, end=1)))
    (failed,) = reader.read_record(json.loads(line("a", failed=False, start=3.5, end=4)))
    assert isinstance(failed, ApiFailed)
    assert (failed.attempt, failed.delay_s) == (1, 2.5)
