from __future__ import annotations

import sys

import pytest

from orchwatch.runtime.late_import import late

NAME = "stringprep"


def test_a_module_is_loaded_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with late(NAME):
        import stringprep  # noqa: PLC0415 - what is tested
    assert NAME not in sys.modules
    assert stringprep.in_table_a1("\u0221")
    assert sys.modules[NAME].__spec__ is not None


def test_one_that_is_loaded_already_stays_as_it_is() -> None:
    with late("json"):
        import json  # noqa: PLC0415 - what is tested
    assert json is sys.modules["json"]
    assert json.__spec__ is not None


def test_a_name_that_it_has_not_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with late(NAME):
        import stringprep  # noqa: PLC0415 - what is tested
    with pytest.raises(AttributeError):
        _ = stringprep.nothing  # type: ignore[attr-defined]
