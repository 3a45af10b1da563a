"""What a look measures again, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from tests.unit.tui.conftest import choosing

from orchwatch.tui import looker as module
from orchwatch.tui.looker import Looker
from orchwatch.tui.question import Question

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

PARTS = 3  # key figures, history, traces


@pytest.fixture
def looker(home: Path, tmp_path: Path) -> Iterator[Looker]:
    opened = Looker(home, tmp_path, choosing(home), lambda _: None)
    yield opened
    opened.close()


@pytest.fixture
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARE", math.inf)


@pytest.mark.usefixtures("_always_due")
def test_no_part_waits_for_ever_because_another_is_due_as_often(
    looker: Looker, record: Record
) -> None:
    record("state.query")
    looker.look(Question())
    record("hook.process", trace_id="ab" * 16)
    looks = [looker.look(Question()) for _ in range(PARTS)]
    assert looks[-1].of_all == 2
    assert "hook.process" in looks[-1].history.p95_s


@pytest.mark.usefixtures("_always_due")
def test_there_is_news_until_every_part_has_it(looker: Looker, record: Record) -> None:
    record("state.query")
    looker.look(Question())
    record("hook.process", trace_id="ab" * 16)
    for _ in range(PARTS):
        assert looker.has_news()
        looker.look(Question())
    assert not looker.has_news()


def test_what_is_not_due_yet_is_no_news(
    looker: Looker, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHARE", 1e-9)
    record("state.query")
    looker.look(Question())
    record("hook.process", trace_id="ab" * 16)
    assert looker.has_news()
    assert looker.look(Question()).of_all == 1
    assert not looker.has_news()
    assert looker.look(Question(), anew=True).of_all == 2
