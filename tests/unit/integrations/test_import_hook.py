from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.integrations import import_hook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package `awaited`, importable and not imported."""
    directory = tmp_path / "awaited"
    directory.mkdir()
    (directory / "__init__.py").write_text("value = 1\n")
    (directory / "part.py").write_text("value = 2\n")
    (directory / "data.txt").write_text("three")
    monkeypatch.syspath_prepend(tmp_path)
    yield directory
    import_hook.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "awaited"]:
        del sys.modules[name]


class Seen(list[tuple[str, int]]):
    def __call__(self, module: ModuleType, name: str) -> None:
        self.append((name, module.value))


def test_it_calls_back_once_the_module_is_complete_and_not_before() -> None:
    seen = Seen()
    import_hook.when_imported("awaited.part", seen)
    importlib.import_module("awaited")
    assert not seen
    assert "awaited.part" not in sys.modules
    importlib.import_module("awaited.part")
    importlib.import_module("awaited.part")
    assert seen == [("awaited.part", 2)]


def test_the_module_has_its_own_loader_as_ever() -> None:
    import_hook.when_imported("awaited", Seen())
    module = importlib.import_module("awaited")
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert (importlib.resources.files("awaited") / "data.txt").read_text() == "three"


def test_looking_for_a_module_does_not_count_as_importing_it() -> None:
    seen = Seen()
    import_hook.when_imported("awaited", seen)
    spec = importlib.util.find_spec("awaited")
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_code("awaited") is not None  # type: ignore[attr-defined]
    assert not seen


def test_a_module_that_fails_to_import_fails_as_ever(package: Path) -> None:
    seen = Seen()
    (package / "broken.py").write_text("raise ValueError('as ever')\n")
    import_hook.when_imported("awaited.broken", seen)
    with pytest.raises(ValueError, match="as ever"):
        importlib.import_module("awaited.broken")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("awaited.missing")
    assert not seen


def test_what_is_taken_back_is_never_called() -> None:
    finders = list(sys.meta_path)
    seen = Seen()
    import_hook.when_imported("awaited", seen)
    import_hook.forget()
    importlib.import_module("awaited")
    assert not seen
    assert sys.meta_path == finders
