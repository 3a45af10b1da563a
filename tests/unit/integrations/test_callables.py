from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.integrations.callables import configured
from orchwatch.targets.config import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


def test_nothing_is_watched_unless_it_is_configured() -> None:
    assert configured() == {}


def test_the_variable_adds_to_the_file_and_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "orchwatch.toml"
    file.write_text('[instrument]\n"a:b" = "one"\n"a:c" = "two"\n')
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(file))
    monkeypatch.setenv("ORCHWATCH_INSTRUMENT", " a:c = three , d.e:F.g=four,")
    assert configured() == {"a:b": "one", "a:c": "three", "d.e:F.g": "four"}


@pytest.mark.parametrize("entry", ["a:b", "a.b=x", "a:=x", ":b=x", "a:b="])
def test_a_misspelt_entry_of_the_variable_is_named(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_INSTRUMENT", f"c:d=y,{entry}")
    with pytest.raises(ConfigError) as raised:
        configured()
    assert str(raised.value) == (
        f'ORCHWATCH_INSTRUMENT: {entry}: must be spelt "package.module:Class.method=operation"'
    )
