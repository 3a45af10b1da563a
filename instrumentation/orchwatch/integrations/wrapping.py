"""Wraps the callables that configuration names, so that each of their calls is an operation.

Standard library only: `orchwatch run` makes it active in programs that have no OpenTelemetry.
Modules that are not imported yet are left alone until the program imports them; `wrapt`'s import
hooks would do that too, but cannot be taken back.

The usual limits of wrapping: whoever did `from module import name` before keeps the original, and
what stands in the script that was started itself (`__main__`) was never imported by anybody.
"""

from __future__ import annotations

import atexit
import sys
from types import BuiltinFunctionType, FunctionType, MethodType

from orchwatch.errors import OrchwatchError
from orchwatch.integrations import import_hook
from orchwatch.timing import timed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

_ABSENT = object()
_PLAIN_CALLABLES = (FunctionType, BuiltinFunctionType, MethodType)

_wrapped: dict[str, _Wrapped] = {}
_waiting: dict[str, str] = {}


def apply(callables: Mapping[str, str]) -> None:
    """Wraps each callable, now or when its module is imported; one that is wrapped stays as it is.

    A callable that its module turns out not to have, or that cannot be replaced, is one warning.

    Args:
        callables: Operation name by `"package.module:Class.method"`.
    """
    for target, operation_name in callables.items():
        if target in _wrapped:
            continue
        _waiting[target] = operation_name
        module_name = target.partition(":")[0]
        module = sys.modules.get(module_name)
        if module is None:
            if _is_the_script(module_name):
                _warn(
                    f"{target} cannot be watched as {operation_name}: {module_name} is the script"
                    " that was started, which nobody imports; move the callable to a module"
                )
            import_hook.when_imported(module_name, _wrap_waiting)
            atexit.unregister(_warn_of_missing_modules)
            atexit.register(_warn_of_missing_modules)
        else:
            _wrap_waiting(module, module_name)


def apply_configured() -> None:
    """Wraps what the user's configuration names; a broken one is one warning and wraps nothing."""
    # It needs a TOML parser; who names the callables in code does without.
    from orchwatch.integrations.callables import configured  # noqa: PLC0415

    try:
        callables = configured()
    except OrchwatchError as error:
        _warn(f"nothing is watched: {error}")
    else:
        apply(callables)


def remove() -> None:
    """Puts every original back and waits for no more modules."""
    _waiting.clear()
    import_hook.forget()
    while _wrapped:
        target, wrapped = _wrapped.popitem()
        if not wrapped.restore():
            _warn(f"{target} was wrapped once more by somebody else and stays wrapped")


class CannotWrapError(Exception):
    """What a target names is missing, or is nothing that a call of can be timed."""


class _Wrapped:
    """One attribute that was replaced, and what it takes to put it back."""

    def __init__(self, owner: Any, attribute: str, operation_name: str) -> None:
        self._owner = owner
        self._attribute = attribute
        self._own = getattr(owner, "__dict__", {}).get(attribute, _ABSENT)
        self._replacement = _replacement(owner, attribute, operation_name)
        setattr(owner, attribute, self._replacement)

    def restore(self) -> bool:
        """Puts the original back; False where the replacement has been replaced since."""
        if self._owner.__dict__.get(self._attribute) is not self._replacement:
            return False
        if self._own is _ABSENT:  # it was inherited, or came from a module's __getattr__
            delattr(self._owner, self._attribute)
        else:
            setattr(self._owner, self._attribute, self._own)
        return True


def _warn_of_missing_modules() -> None:
    """Says which of the modules that nobody imported do not exist in a package that was imported.

    Of a package that was not, nothing can be said: any Python process below `orchwatch run` comes
    here, and most have nothing to do with it.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - only where something was never found

    for target, operation_name in _waiting.items():
        module_name = target.partition(":")[0]
        package = module_name.rpartition(".")[0]
        if package in sys.modules and module_name not in sys.modules:
            try:
                found = find_spec(module_name) is not None
            except (ImportError, ValueError):
                found = False
            if not found:
                _warn(
                    f"{target} could not be watched as {operation_name}: the package {package} has"
                    f" no module {module_name.rpartition('.')[2]!r}"
                )


def _is_the_script(module_name: str) -> bool:
    """Whether the interpreter was started with that very module, as `app.py` or `-m app`."""
    started = sys.argv[0] if sys.argv else ""
    if started == "-m":  # as long as the interpreter still starts
        words = sys.orig_argv
        started = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
        return module_name in (started, f"{started}.__main__")
    return started.rpartition("/")[2] == f"{module_name}.py"


def _wrap_waiting(module: ModuleType, module_name: str) -> None:
    for target in [target for target in _waiting if target.partition(":")[0] == module_name]:
        operation_name = _waiting.pop(target)
        try:
            _wrapped[target] = _wrap(module, target.partition(":")[2], operation_name)
        except CannotWrapError as error:
            _warn(f"{target} cannot be watched as {operation_name}: {error}")


def _wrap(module: ModuleType, path: str, operation_name: str) -> _Wrapped:
    *owner_names, attribute = path.split(".")
    owner: Any = module
    for name in owner_names:
        owner = getattr(owner, name, _ABSENT)
        if owner is _ABSENT:
            raise CannotWrapError(f"there is no {name!r}")
    try:
        return _Wrapped(owner, attribute, operation_name)
    except (AttributeError, TypeError) as error:  # slots, built-in types, read-only objects
        raise CannotWrapError(str(error)) from error


def _replacement(owner: Any, attribute: str, operation_name: str) -> Any:
    original = _raw(owner, attribute)
    decorate: Callable[[Any], Any] = timed(operation_name)
    if isinstance(original, staticmethod | classmethod):
        return type(original)(decorate(original.__func__))
    if isinstance(original, type):
        raise CannotWrapError("it is a class; name its method, such as __init__")
    if not callable(original):
        raise CannotWrapError(f"it is not callable but of type {type(original).__name__}")
    if not isinstance(original, _PLAIN_CALLABLES):
        return _transparent(original, decorate)
    # A Python function in a class binds to the instance, what stood there may not have.
    bound = not isinstance(owner, type) or hasattr(original, "__get__")
    return decorate(original) if bound else staticmethod(decorate(original))


def _raw(owner: Any, attribute: str) -> Any:
    """The attribute as it is stored, without binding it."""
    for holder in owner.__mro__ if isinstance(owner, type) else ():
        if attribute in vars(holder):
            return vars(holder)[attribute]
    found = getattr(owner, attribute, _ABSENT)
    if found is _ABSENT:
        raise CannotWrapError(f"there is no {attribute!r}")
    return found


def _transparent(original: Any, decorate: Callable[[Any], Any]) -> Any:
    """Wraps a callable object such that its other attributes still work, `cache_clear` say."""
    try:
        from wrapt import FunctionWrapper  # noqa: PLC0415 - third-party, and rarely needed
    except ImportError:
        raise CannotWrapError(
            f"a {type(original).__name__} object can only be wrapped where wrapt is installed"
        ) from None

    def call(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return decorate(wrapped)(*args, **kwargs)

    return FunctionWrapper(original, call)


def _warn(message: str) -> None:
    import logging  # noqa: PLC0415 - slow, and most programs never need it

    logging.getLogger("orchwatch").warning("orchwatch: %s", message)
