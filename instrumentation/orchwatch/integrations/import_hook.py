"""Calls back while a module is imported, without importing it any earlier."""

from __future__ import annotations

import importlib._bootstrap
import importlib._bootstrap_external
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    Callback = Callable[[ModuleType, str], None]
    Rewrite = Callable[[CodeType, str], CodeType]

_awaited: dict[str, list[tuple[Callback, Rewrite | None]]] = {}

# Of the interpreter's own loaders: it executes what their `get_code` returns, and nothing else.
_execute = getattr(importlib._bootstrap_external, "_LoaderBasics").exec_module  # noqa: B009
_call: Any = getattr(importlib._bootstrap, "_call_with_frames_removed")  # noqa: B009


def when_imported(module_name: str, callback: Callback, rewrite: Rewrite | None = None) -> None:
    """Registers callbacks for a module's import, and for each time that it is loaded anew.

    Args:
        module_name: Its full name.
        callback: Called with the module and its name at the end of the import.
        rewrite: Called with the module's code and name before; what it returns is executed
            instead. Not called for a module whose loader executes it in a way of its own.
    """
    awaited = _awaited.setdefault(module_name, [])
    if (callback, rewrite) not in awaited:
        awaited.append((callback, rewrite))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget() -> None:
    """Removes everything that `when_imported` registered."""
    _awaited.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def step_back(spec: ModuleSpec) -> None:
    """Leaves a module that is run instead of imported to its own loader."""
    if isinstance(spec.loader, _Loader):
        spec.loader = spec.loader.own


class _Finder:
    """Finds the awaited modules as the other finders do, and adds the callback to their loader."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _awaited:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, name)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Stands for the module's own loader, and steps back as soon as the module is executed."""

    def __init__(self, loader: Loader, name: str) -> None:
        self.own = loader
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.own
        module.__loader__ = self.own
        awaited = _awaited.get(self._name, [])[:]
        try:
            self._execute(module, [rewrite for _, rewrite in awaited if rewrite is not None])
        except BaseException as error:
            # Importing takes its own frames out of a traceback unless others stand between them.
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next
            raise
        for callback, _ in awaited:
            callback(module, self._name)

    def _execute(self, module: ModuleType, rewrites: list[Rewrite]) -> None:
        if rewrites and getattr(type(self.own), "exec_module", None) is _execute:
            code = self.own.get_code(self._name)  # type: ignore[attr-defined]
            if code is not None:
                for rewrite in rewrites:
                    code = rewrite(code, self._name)
                _call(exec, code, module.__dict__)
                return
        self.own.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


_finder = _Finder()
