from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.targets import config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "orchwatch.toml"


def test_no_file_is_an_empty_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert config.load() == config.Config()


def test_the_first_of_variable_directory_and_xdg_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    xdg = tmp_path / "xdg" / "orchwatch" / "orchwatch.toml"
    xdg.parent.mkdir(parents=True)
    for file, operation in ((xdg, "x"), (tmp_path / "orchwatch.toml", "d"), (tmp_path / "v", "v")):
        file.write_text(f'[instrument]\n"m:f" = "{operation}"\n')
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(tmp_path / "v"))
    assert config.load().instrument == {"m:f": "v"}
    monkeypatch.delenv("ORCHWATCH_CONFIG")
    assert config.load().instrument == {"m:f": "d"}
    (tmp_path / "orchwatch.toml").unlink()
    assert config.load().instrument == {"m:f": "x"}


def test_a_variable_that_names_no_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(tmp_path / "absent.toml"))
    with pytest.raises(config.ConfigError, match=r"absent\.toml.*no such file"):
        config.load()


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("[operation.x]\ntarget_s = 1", "operation", "unknown table"),
        ("targets_s = 1", "targets_s", "unknown table"),
        ("operations = 5", "operations", "must be a table"),
        ("retention = 5", "retention", "must be a table"),
        ("[retention]\ndays = 5", "retention.days", "unknown key; known are store_days"),
        ("[retention]\nstore_days = -1", "retention.store_days", "must be a number of 0 or more"),
        ("[retention]\nstore_days = nan", "retention.store_days", "must be a number of 0 or more"),
        ("[retention]\nstore_days = inf", "retention.store_days", "must be a number of 0 or more"),
        ("[retention]\nstore_bytes = true", "retention.store_bytes", "must be a number of 0"),
        ('[retention]\nstore_bytes = "1G"', "retention.store_bytes", "must be a number of 0"),
        ("tuning = 5", "tuning", "must be a table"),
        ("[tuning]\ncache = 5", "tuning.cache", "unknown key; known are cache_bytes"),
        ("[tuning]\ncache_bytes = -1", "tuning.cache_bytes", "must be a whole number from 0 to"),
        ("[tuning]\npool_size = 2.0", "tuning.pool_size", "must be a whole number from 1 to 1024"),
        ("[tuning]\nbatch_size = true", "tuning.batch_size", "must be a whole number from 1 to"),
        ("[tuning]\nflush_interval_s = nan", "tuning.flush_interval_s", "must be a number from"),
        ("[[levels]]\nid = 1", "levels", "must be a table"),
        ('[operations]\n"state.query" = 0.05', "operations.state.query", "must be a table"),
        (
            "[operations.state.query]\ntarget_s = 1",
            "operations.state.query",
            'needs quotes: [operations."state.query"]',
        ),
        ("[levels.cpu.utilization]\ntarget = 1", "levels.cpu.utilization", "needs quotes"),
        ("[operations\ntarget_s = 1", "", "is not valid TOML"),
        ("[operations.x]\ntarget_s = ", "", "is not valid TOML"),
        ("[operations.x]\na = 1\na = 2", "", "is not valid TOML"),
        pytest.param("a = " + "[" * 5000, "", "is not valid TOML: nested", id="deep"),
        pytest.param("a = " + "1" * 5000, "", "is not valid TOML", id="long"),
        ('[instrument]\n"pkg.mod.f" = "state.query"', 'instrument."pkg.mod.f"', "must be spelt"),
        ('[instrument]\n":f" = "state.query"', 'instrument.":f"', "must be spelt"),
        ('[instrument]\n"pkg:" = "state.query"', 'instrument."pkg:"', "must be spelt"),
        ('[instrument]\n"m:f" = ""', 'instrument."m:f"', "name of an operation"),
        ('[instrument]\n"m:f" = 5', 'instrument."m:f"', "name of an operation"),
        ('[operations]\n"a\\nb" = 5', "operations.a b", "must be a table"),
    ],
)
def test_a_broken_file_is_one_line_naming_file_key_and_rule(
    user_file: Path, text: str, key: str, rule: str
) -> None:
    user_file.write_text(text)
    with pytest.raises(config.ConfigError) as caught:
        config.load(user_file)
    message = str(caught.value)
    assert message.startswith(f"{user_file}: {key}")
    assert rule in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = '\xe9'"])
def test_bytes_that_are_no_utf8_are_no_toml(user_file: Path, content: bytes) -> None:
    user_file.write_bytes(content)
    with pytest.raises(config.ConfigError, match="is not valid TOML"):
        config.load(user_file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=f"{tmp_path}: cannot be read: it is a directory"):
        config.load(tmp_path)
