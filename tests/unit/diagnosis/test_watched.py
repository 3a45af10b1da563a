from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.watched import check_watched
from orchwatch.integrations import record

if TYPE_CHECKING:
    from pathlib import Path

TABLE = '[instrument]\n"shop.db:get" = "state.query"\n"shop.db:put" = "state.persist"\n'


@pytest.fixture(autouse=True)
def table(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    file = tmp_path / "orchwatch.toml"
    file.write_text(TABLE)
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(file))
    return file


def test_before_any_program_has_run_the_state_is_unknown() -> None:
    assert {check.state for check in check_watched()} == {"unknown"}


def test_what_was_never_called_is_named_with_what_is_known_of_it() -> None:
    record.note({"shop.db:get": (record.CALLED, "")})
    record.note({"shop.db:put": (record.UNCALLED, "is watched as state.persist")})
    trouble, fine = check_watched()
    assert (trouble.name, trouble.state) == ("watched, never called", "warn")
    assert trouble.found == "shop.db:put is watched as state.persist"
    assert trouble.remedy
    assert (fine.state, fine.found) == ("ok", "called: 1 callable")


def test_what_has_gone_since_it_was_called_is_named_too() -> None:
    for target in ("shop.db:get", "shop.db:put"):
        record.note({target: (record.CALLED, "")})
    record.note({"shop.db:put": (record.PROBLEM, "cannot be watched: there is no 'put'")})
    trouble, _ = check_watched()
    assert trouble.name.startswith("watched, not called since 20")
    assert "there is no 'put'" in trouble.found
    record.note({"shop.db:put": (record.CALLED, "")})
    (fine,) = check_watched()
    assert fine.found == "called: 2 callables"


def test_a_process_that_did_not_need_it_is_no_reason_to_warn() -> None:
    for target in ("shop.db:get", "shop.db:put"):
        record.note({target: (record.CALLED, "")})
        record.note({target: (record.UNCALLED, "was never called")})
    assert [check.state for check in check_watched()] == ["ok"]


def test_without_anything_to_watch_it_says_nothing(table: Path) -> None:
    table.write_text("")
    assert list(check_watched()) == []
    table.write_text("[instrument\n")
    assert list(check_watched()) == []
