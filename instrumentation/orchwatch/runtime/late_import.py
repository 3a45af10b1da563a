"""A module that another one imports, loaded when it is first used."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Late(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def late(name: str) -> Iterator[None]:
    """What is imported in this block gets a stand-in for the module `name`; others never see it.

    `importlib.util.LazyLoader` does not do: an import statement asks a module for its `__spec__`,
    for which it loads it.
    """
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _Late(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
