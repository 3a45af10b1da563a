"""docs/api.md has every public name, and its examples run."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orchwatch

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = (Path(orchwatch.__file__).parents[2] / "docs" / "api.md").read_text()
SECTIONS = re.split(r"^## (\S+)$", TEXT, flags=re.MULTILINE)[1:]
MODULES = dict(zip(SECTIONS[::2], SECTIONS[1::2], strict=True))


def documented(module: str) -> dict[str, str]:
    """Each name with the arguments that stand behind it."""
    return dict(re.findall(r"^\| `(\w+)(?:\((.*?)\))?` \|", MODULES[module], re.MULTILINE))


@pytest.mark.parametrize("module", ["orchwatch", "orchwatch.testing", "orchwatch.reading"])
def test_the_page_has_the_public_names_and_no_other(module: str) -> None:
    assert set(documented(module)) == set(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", MODULES)
def test_arguments_are_named_as_they_are_called(module: str) -> None:
    loaded = importlib.import_module(module)
    for name, arguments in documented(module).items():
        if f"`{name}(" in MODULES[module]:
            said = [one.split("=")[0] for one in arguments.split(", ") if one not in ("", "*")]
            assert said == list(inspect.signature(getattr(loaded, name)).parameters), name


@pytest.mark.parametrize("module", MODULES)
def test_each_example_runs(run_python: Callable[..., str], module: str) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", MODULES[module], re.MULTILINE | re.DOTALL)
    assert run_python(example) == ""
