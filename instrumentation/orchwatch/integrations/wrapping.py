"""Watches the callables that configuration names, so that each of their calls is an operation.

Standard library only: `orchwatch run` makes it active in programs that have no OpenTelemetry.
Modules that are not imported yet are left alone until the program imports them; `wrapt`'s import
hooks would do that too, but cannot be taken back.

A Python function is watched in place, see `shim`: inside its decorators, and wherever it has been
handed to before. What has no Python code (built-in functions, callable objects, what a class
inherits) is replaced where it is named, and found by code that looks it up there.
"""

from __future__ import annotations

import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from orchwatch.errors import OrchwatchError
from orchwatch.integrations import import_hook, main_script, outcomes, shim
from orchwatch.integrations.shim import CannotWatchError, Watch
from orchwatch.recording.timed_calls import time_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, ModuleType
    from typing import Any

    Restore = Callable[[], bool]

_ABSENT = object()
_PLAIN_CALLABLES = (FunctionType, BuiltinFunctionType, MethodType)
_MAX_LAYERS = 32

_watches: dict[str, Watch] = {}
_waiting: dict[str, Watch] = {}
_restores: dict[str, Restore] = {}


def apply(callables: Mapping[str, str]) -> None:
    """Watches each callable, now or when its module is imported or run.

    A callable that is watched already stays as it is. One that is missing from its module, or
    cannot be watched, is one warning.

    Args:
        callables: Operation name by `"package.module:Class.method"`.
    """
    running = main_script.is_running()
    for target, operation_name in callables.items():
        if target in _watches:
            continue
        watch = Watch(target, operation_name, outcomes.first_call)
        _watches[target] = _waiting[target] = watch
        module = sys.modules.get(watch.module_name)
        if module is not None and watch.module_name != main_script.MAIN:
            _settle(module, watch)
        else:
            import_hook.when_imported(watch.module_name, _watch_attributes, _rewrite_module)
    if callables:
        main_script.when_run(_of_script, _rewrite_script)
        outcomes.report_at_exit(_watches, _waiting)
        if running:
            main = sys.modules[main_script.MAIN]
            for watch in _of_script(main_script.names_of_main()):
                _settle(main, watch)
        else:
            main_script.announce()


def apply_configured() -> None:
    """Watches what the user's configuration names; nothing, and one warning, if it is broken."""
    # It needs a TOML parser, which a program that names the callables in code does without.
    from orchwatch.integrations.callables import configured  # noqa: PLC0415

    try:
        callables = configured()
    except OrchwatchError as error:
        outcomes.warn(f"nothing is watched: {error}")
    else:
        apply(callables)


def remove() -> None:
    """Puts every original back and waits for no more modules."""
    _waiting.clear()
    import_hook.forget()
    for watch in _watches.values():
        watch.active = False
    _watches.clear()
    while _restores:
        target, restore = _restores.popitem()
        if not restore():
            outcomes.warn(f"{target} was wrapped again by other code and stays wrapped")


def _rewrite_module(code: CodeType, module_name: str) -> CodeType:
    return _rewrite(code, _of_module(module_name))


def _of_module(module_name: str) -> list[Watch]:
    return [watch for watch in _watches.values() if watch.module_name == module_name]


def _of_script(names: list[str]) -> list[Watch]:
    return [watch for watch in _watches.values() if main_script.is_named(watch.module_name, names)]


def _rewrite_script(code: CodeType, watches: list[Watch]) -> CodeType:
    changed = _rewrite(code, watches)
    for watch in watches:
        if watch.state == shim.WAITING and watch.module_name != main_script.MAIN:
            file = code.co_filename.rpartition("/")[2]
            outcomes.problem(watch, f"{file} defines no function {'.'.join(watch.path)!r}")
    return changed


def _rewrite(code: CodeType, watches: list[Watch]) -> CodeType:
    for watch in watches:
        try:
            changed = shim.instrument(code, watch.path, watch)
        except CannotWatchError as error:
            outcomes.problem(watch, str(error))
        else:
            if changed is not None:
                code = changed
                watch.state = shim.DEFINED
                _waiting.pop(watch.target, None)
    return code


def _watch_attributes(module: ModuleType, module_name: str) -> None:
    for watch in _of_module(module_name):
        _settle(module, watch)


def _settle(module: ModuleType, watch: Watch) -> None:
    """Watches callables that the module's code did not define, or that were replaced since."""
    _waiting.pop(watch.target, None)
    by_code = watch.state == shim.DEFINED and watch.target not in _restores
    if watch.state == shim.WAITING or (by_code and _is_replaced(module, watch)):
        try:
            _restores[watch.target] = _watch_attribute(module, watch)
        except CannotWatchError as error:
            if main_script.runs_as_script(module):
                _waiting[watch.target] = watch
            else:
                outcomes.problem(watch, str(error))
        else:
            watch.state = shim.DEFINED


def _is_replaced(module: ModuleType, watch: Watch) -> bool:
    """Whether a built-in function has taken the place of the one that the module defines."""
    found: Any = module
    for name in watch.path:
        found = getattr(found, name, None)
    return isinstance(found, BuiltinFunctionType)


def _watch_attribute(module: ModuleType, watch: Watch) -> Restore:
    owner: Any = module
    *owner_names, attribute = watch.path
    for index, name in enumerate(owner_names):
        owner = getattr(owner, name, _ABSENT)
        if owner is _ABSENT:
            raise CannotWatchError(f"there is no {name!r}")
        if isinstance(owner, FunctionType):
            return _watch_inside(owner, watch.path[index + 1 :], watch)
    original = _raw(owner, attribute)
    function = _own_function(owner, attribute, original)
    if function is not None:
        return _watch_in_place(function, watch)
    try:
        return _replace(owner, attribute, original, watch)
    except (AttributeError, TypeError) as error:  # slots, built-in types, read-only objects
        raise CannotWatchError(str(error)) from error


def _raw(owner: Any, attribute: str) -> Any:
    """The attribute as it is stored, without binding it."""
    for holder in owner.__mro__ if isinstance(owner, type) else ():
        if attribute in vars(holder):
            return vars(holder)[attribute]
    found = getattr(owner, attribute, _ABSENT)
    if found is _ABSENT:
        raise CannotWatchError(f"there is no {attribute!r}")
    return found


def _own_function(owner: Any, attribute: str, found: Any) -> FunctionType | None:
    """The Python function behind what stands under a name, inside all that was put around it.

    None where there is none, or where it belongs to another owner: watching it in place would be
    watching that one.
    """
    if isinstance(owner, type) and attribute not in vars(owner):
        return None
    if isinstance(found, MethodType) and not isinstance(owner, type):
        return None
    for _ in range(_MAX_LAYERS):
        inner = _inside(found, attribute)
        if inner is None:
            break
        found = inner
    return found if isinstance(found, FunctionType) else None


def _inside(found: Any, attribute: str) -> Any:
    """What a decorator was applied to, as far as it can be seen from its result."""
    if isinstance(found, staticmethod | classmethod | MethodType):
        return found.__func__
    if isinstance(found, property):
        return found.fget
    wrapped = getattr(found, "__wrapped__", None)
    if callable(wrapped) and not isinstance(found, type):
        return wrapped
    if isinstance(found, FunctionType | type | partial):
        return None
    # A command of Click, a task of a queue, a tool of an agent: an object that holds the function.
    held = getattr(found, "__dict__", {})
    for value in list(held.values()) if isinstance(held, dict) else ():
        if isinstance(value, FunctionType) and value.__name__ == attribute:
            return value
    return None


def _watch_in_place(function: FunctionType, watch: Watch) -> Restore:
    code = function.__code__
    already = shim.watch_of(code)
    if already is not None:
        if already.active:
            raise CannotWatchError(
                f"it is {already.target}, which is watched as {already.operation_name}"
            )
        code = shim.original(code)  # its module was imported while it was watched
    return _exchange(function, shim.shim(code, watch))


def _watch_inside(function: FunctionType, path: list[str], watch: Watch) -> Restore:
    changed = shim.instrument(function.__code__, path, watch)
    if changed is None:
        raise CannotWatchError(f"{function.__qualname__} defines no function {'.'.join(path)!r}")
    return _exchange(function, changed)


def _exchange(function: FunctionType, changed: CodeType) -> Restore:
    code = function.__code__
    function.__code__ = changed

    def restore() -> bool:
        if function.__code__ is not changed:
            return False
        function.__code__ = code
        return True

    return restore


def _replace(owner: Any, attribute: str, original: Any, watch: Watch) -> Restore:
    own = getattr(owner, "__dict__", {}).get(attribute, _ABSENT)
    if type(original) is partial:
        state = (original.func, original.args, original.keywords, vars(original))
        original.__setstate__((time_calls(original.func, watch.begin), *state[1:]))  # type: ignore[attr-defined]
        return lambda: original.__setstate__(state) is None  # type: ignore[attr-defined]
    replacement = _replacement(owner, original, watch)
    setattr(owner, attribute, replacement)

    def restore() -> bool:
        if owner.__dict__.get(attribute) is not replacement:
            return False
        if own is _ABSENT:  # it was inherited, or came from a module's __getattr__
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, own)
        return True

    return restore


def _replacement(owner: Any, original: Any, watch: Watch) -> Any:
    if isinstance(original, staticmethod | classmethod):
        return type(original)(time_calls(original.__func__, watch.begin))
    if isinstance(original, type):
        raise CannotWatchError("it is a class; name its method, such as __init__")
    if not callable(original):
        raise CannotWatchError(f"it is not callable but of type {type(original).__name__}")
    if not isinstance(original, _PLAIN_CALLABLES):
        return _transparent(original, watch)
    timed = time_calls(original, watch.begin)
    # A Python function in a class binds to the instance, what stood there may not have.
    bound = not isinstance(owner, type) or hasattr(original, "__get__")
    return timed if bound else staticmethod(timed)


def _transparent(original: Any, watch: Watch) -> Any:
    """Wraps a callable object such that its other attributes still work."""
    try:
        from wrapt import FunctionWrapper  # noqa: PLC0415 - third-party, and rarely needed
    except ImportError:
        raise CannotWatchError(
            f"a {type(original).__name__} object can only be wrapped where wrapt is installed"
        ) from None

    def call(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return time_calls(wrapped, watch.begin)(*args, **kwargs)

    return FunctionWrapper(original, call)
