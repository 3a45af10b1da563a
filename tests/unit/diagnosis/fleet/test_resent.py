from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.fleet import resent

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = ("ab" * 16, "cd" * 8), ("ab" * 16, "ef" * 8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path))
    return tmp_path


def test_what_was_sent_again_is_on_its_way() -> None:
    assert resent.on_their_way() == {}
    resent.note([ONE])
    resent.note([OTHER])
    assert resent.on_their_way().keys() == {ONE, OTHER}


def test_after_a_day_it_is_not(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    resent.note([ONE])
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + resent.KEPT_S + 1)
    assert resent.on_their_way() == {}
    resent.note([OTHER])
    assert (home / "fleet" / "resent").read_text().count("\n") == 1


def test_a_torn_line_hides_no_other(home: Path) -> None:
    resent.note([ONE])
    path = home / "fleet" / "resent"
    path.write_bytes(b"\xff torn\n" + path.read_bytes() + b"ab cd")
    assert resent.on_their_way().keys() == {ONE}
