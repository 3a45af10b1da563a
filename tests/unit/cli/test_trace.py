from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


def test_the_latest_trace_is_shown_unless_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with operation("earlier") as earlier:
        pass
    with operation("session.init"), operation("state.query"):
        pass
    assert main(["trace"]) == 0
    assert "└─ state.query" in capsys.readouterr().out
    assert main(["trace", earlier.trace_id]) == 0
    assert "\nearlier " in capsys.readouterr().out


def test_json_gives_every_span_of_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with operation("session.init") as outer, operation("state.query") as inner:
        pass
    assert main(["trace", "--format", "json"]) == 0
    spans = {span["span_id"]: span for span in json.loads(capsys.readouterr().out)}
    assert spans[inner.span_id]["parent_span_id"] == outer.span_id
    assert spans.keys() == {outer.span_id, inner.span_id}


@pytest.mark.parametrize("words", [[], ["ab" * 16], ["no id at all"]])
def test_a_trace_that_is_not_stored_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(["trace", *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    if words:
        with operation("state.query"):
            pass
        assert main(["trace", *words]) == 1
        assert f"no span of {words[0]} is stored in {home}" in capsys.readouterr().err
