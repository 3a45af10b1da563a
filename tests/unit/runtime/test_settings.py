"""What the runtime works with: code first, then what was tuned, then the user's file."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
import tomllib
from pathlib import Path

import pytest

import orchwatch
from orchwatch.runtime import settings
from orchwatch.runtime.agents import Limits
from orchwatch.runtime.event import Event
from orchwatch.runtime.event_writer import EventWriter
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.settings import TUNED_FILE, Tuned
from orchwatch.runtime.state import StateError
from orchwatch.targets.config import ConfigError
from orchwatch.targets.knobs import KNOBS, Settings

PAGE = Path(orchwatch.__file__).parents[2] / "docs" / "benchmarks.md"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file."""
    path = tmp_path / "own.toml"
    path.write_text("[tuning]\ncache_bytes = 1000\ncheckpoint_pages = 5\n")
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(path))
    return path


def test_every_setting_has_a_knob_and_a_default_within_its_bounds() -> None:
    assert {knob.name for knob in KNOBS} == set(Settings.__dataclass_fields__)
    for knob in KNOBS:
        assert knob.broken_rule(knob.default) is None
        for beyond in (knob.lowest - 1, knob.highest + 1, True, "1", None, float("nan")):
            assert knob.broken_rule(beyond) is not None


def test_the_page_names_the_defaults() -> None:
    (table,) = re.findall(
        r"^```toml\n(\[tuning\].*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert tomllib.loads(table)["tuning"] == dataclasses.asdict(Settings())


def test_by_default_a_state_s_log_is_written_back_as_seldom_as_sqlite_does_it(
    tmp_path: Path,
) -> None:
    with SessionStateManager(tmp_path, "s") as state, state.database.reading() as connection:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (pages,) = connection.execute("PRAGMA wal_autocheckpoint").fetchone()
    plain = sqlite3.connect(tmp_path / "plain.sqlite3")
    (plain_bytes,) = plain.execute("PRAGMA page_size").fetchone()
    (plain_pages,) = plain.execute("PRAGMA wal_autocheckpoint").fetchone()
    plain.close()
    assert pages * page_bytes == plain_pages * plain_bytes


def test_the_runtime_takes_each_setting_from_the_user_s_file(own: Path, tmp_path: Path) -> None:
    own.write_text(
        "[tuning]\ncache_bytes = 1000\nflush_interval_s = 60\nbatch_size = 3\n"
        "checkpoint_pages = 5\npool_size = 2\n"
    )
    assert Limits().agents == 2
    with SessionStateManager(tmp_path, "s") as state:
        assert QueryAPI(state).cache.max_bytes == 1000
        with state.database.reading() as connection:
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (5,)
    with EventLog(tmp_path / "events.sqlite3") as log, EventWriter(log) as writer:
        written = []
        for _ in range(4):
            writer.append(Event("e", "s", {}))
            written.append(writer.written)
        assert written == [0, 0, 3, 3]


def test_what_code_says_holds_before_any_file(own: Path, tmp_path: Path) -> None:
    assert own.exists()
    with SessionStateManager(tmp_path, "s", checkpoint_pages=7) as state:
        assert QueryAPI(state, cache_bytes=2000).cache.max_bytes == 2000
        with state.database.reading() as connection:
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (7,)
    with pytest.raises(StateError, match="checkpoint_pages must be a whole number above 0, not 0"):
        SessionStateManager(tmp_path, "other", checkpoint_pages=0)


def test_what_was_tuned_holds_until_the_user_s_file_says_something_else(
    own: Path, home: Path
) -> None:
    settings.keep(home, {"cache_bytes": Tuned(5000, 1000), "batch_size": Tuned(9, None)})
    assert settings.current() == Settings(cache_bytes=5000, batch_size=9, checkpoint_pages=5)
    own.write_text("[tuning]\ncache_bytes = 1001\nbatch_size = 256\n")
    assert settings.current() == Settings(cache_bytes=1001)
    own.write_text("[tuning]\ncache_bytes = 1000\n")
    assert settings.current() == Settings(cache_bytes=5000, batch_size=9)


def test_nothing_tuned_leaves_no_file(home: Path) -> None:
    settings.keep(home, {"pool_size": Tuned(4, None)})
    assert settings.tuned(home) == {"pool_size": Tuned(4, None)}
    settings.keep(home, {})
    assert not (home / TUNED_FILE).exists()
    assert settings.tuned(home) == {}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is damaged"),
        ("[1]", "is damaged"),
        ('{"cache_bytes": 5}', "is damaged"),
        (json.dumps({"cache": {"value": 5, "instead_of": None}}), "unknown key; known are cache_b"),
        (
            json.dumps({"pool_size": {"value": 0, "instead_of": None}}),
            "tuning.pool_size: must be a whole number from 1 to 1024",
        ),
    ],
)
def test_a_damaged_file_is_named_and_stops_no_orchestration(
    text: str, rule: str, home: Path
) -> None:
    home.mkdir()
    (home / TUNED_FILE).write_text(text)
    with pytest.raises(ConfigError, match=rule):
        settings.tuned(home)
    assert settings.current() == Settings()
