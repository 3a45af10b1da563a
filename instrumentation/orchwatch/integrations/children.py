"""Makes child processes of an unedited program children of its operations.

Each child gets the current operation as `TRACEPARENT` and `BAGGAGE`, also where the program passes
an environment of its own, together with what it takes to be watched. A program that hands over a
context itself is left to do so. Processes and tasks of `multiprocessing` carry the context with
them.
"""

from __future__ import annotations

import os
import sys
from functools import wraps

from orchwatch.integrations import import_hook
from orchwatch.integrations.activation import INSTRUMENT_VARIABLE, SINCE_VARIABLE, SITE_DIRECTORY
from orchwatch.integrations.shim import QUIET
from orchwatch.recording import losses, propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_TRACEPARENT = "TRACEPARENT"
_BAGGAGE = "BAGGAGE"
# What a child needs to be watched, and to record where its parent does.
_HANDED_ON = ("ORCHWATCH_HOME", "ORCHWATCH_CONFIG", INSTRUMENT_VARIABLE, SINCE_VARIABLE)
_HANDOVER = "_orchwatch_handover"
_ENV_POSITION = 10  # of `subprocess.Popen`'s parameters, the command being the first

_replaced: list[tuple[Any, str, Any]] = []


def follow() -> None:
    """Patches everything that starts a process to hand the context on; idempotent."""
    if _replaced:
        return
    _follow_os()
    for module_name, hook in _HOOKS.items():
        module = sys.modules.get(module_name)
        if module is None:
            import_hook.when_imported(module_name, hook)
        else:
            hook(module, module_name)


def forget() -> None:
    """Undoes `follow`."""
    while _replaced:
        owner, name, original = _replaced.pop()
        setattr(owner, name, original)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name, None)
    if original is not None:
        _replaced.append((owner, name, original))
        setattr(owner, name, wraps(original)(make(original)))


def _carrier() -> dict[str, str]:
    """`TRACEPARENT` and `BAGGAGE` of the current operation; empty outside of any."""
    headers: dict[str, str] = {}
    propagation.inject(headers)
    carrier = {name.upper(): value for name, value in headers.items()}
    return carrier if _TRACEPARENT in carrier else {}


def _environment(given: Any) -> Any:
    """The environment for a child instead of the given one; the same where there is nothing to add.

    Args:
        given: As the program names it; None for its own.
    """
    try:
        carrier = _carrier()
        own = os.environ
        if not carrier:
            return given
        if given is None:
            unchanged = all(own.get(name) == carrier.get(name) for name in (_TRACEPARENT, _BAGGAGE))
            return None if unchanged else propagation.child_environment()
        environ = {
            os.fsdecode(name) if isinstance(name, bytes) else name: value
            for name, value in given.items()
        }
        theirs = environ.get(_TRACEPARENT)
        theirs = os.fsdecode(theirs) if isinstance(theirs, bytes) else theirs
        if theirs not in (None, own.get(_TRACEPARENT)):
            return given
        environ.pop(_BAGGAGE, None)
        environ.update(carrier)
        for name in _HANDED_ON:
            if name in own:
                environ.setdefault(name, own[name])
        _add_site(environ)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the host's
        losses.count_error("bad_headers", error)
        return given
    return environ


def _add_site(environ: dict[str, Any]) -> None:
    if SITE_DIRECTORY not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        return
    path = environ.get("PYTHONPATH") or ""
    path = os.fsdecode(path) if isinstance(path, bytes) else path
    if SITE_DIRECTORY not in path.split(os.pathsep):
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SITE_DIRECTORY, path)))


def _follow_os() -> None:
    execute = os.execve

    def make_execv(original: Any) -> Any:
        def execv(path: Any, argv: Any, /) -> Any:
            environ = _environment(None)
            with QUIET:
                return original(path, argv) if environ is None else execute(path, argv, environ)

        return execv

    def make_execve(original: Any) -> Any:
        def execve(path: Any, argv: Any, env: Any) -> Any:
            with QUIET:
                return original(path, argv, _environment(env))

        return execve

    def make_posix_spawn(original: Any) -> Any:
        def posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> Any:
            with QUIET:
                return original(path, argv, _environment(env), **options)

        return posix_spawn

    def make_system(original: Any) -> Any:
        def system(command: Any) -> Any:
            with QUIET:
                return original(_shell_command(command))

        return system

    # The other members of `exec*` and `spawn*` call these two.
    _replace(os, "execv", make_execv)
    _replace(os, "execve", make_execve)
    _replace(os, "posix_spawn", make_posix_spawn)
    _replace(os, "posix_spawnp", make_posix_spawn)
    _replace(os, "system", make_system)


def _shell_command(command: Any) -> Any:
    """The command for `os.system`, which takes no environment: the shell sets it first."""
    try:
        environ = _environment(None)
        if environ is None or not isinstance(command, str | bytes):
            return command
        lines = ""
        for name in (_TRACEPARENT, _BAGGAGE):
            value = environ.get(name, "").replace("'", "'\\''")
            lines += f"{name}='{value}'; export {name}\n" if value else f"unset {name}\n"
    except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
        losses.count_error("internal_error", error)
        return command
    return lines + command if isinstance(command, str) else lines.encode() + command


def _follow_subprocess(subprocess: ModuleType, _name: str) -> None:
    def make_init(original: Any) -> Any:
        def start(self: Any, *words: Any, **options: Any) -> None:
            if len(words) > _ENV_POSITION:
                env = _environment(words[_ENV_POSITION])
                words = (*words[:_ENV_POSITION], env, *words[_ENV_POSITION + 1 :])
            else:
                env = _environment(options.get("env"))
                if env is not None:
                    options["env"] = env
            with QUIET:
                original(self, *words, **options)

        return start

    _replace(vars(subprocess)["Popen"], "__init__", make_init)


class _ChildEnvironment:
    """Becomes the environment of the process that unpickles it, by the standard library alone."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_Os(), "environ")


class _Os:
    def __reduce__(self) -> tuple[Any, ...]:
        import importlib  # noqa: PLC0415 - only where a process is started

        return importlib.import_module, ("os",)


class _Handover:
    """Updates the environment of the process that unpickles it."""

    def __init__(self, carrier: dict[str, str]) -> None:
        self._carrier = carrier

    def __reduce__(self) -> tuple[Any, ...]:
        import operator  # noqa: PLC0415 - as above

        return operator.methodcaller("update", self._carrier), (_ChildEnvironment(),)


def _follow_processes(process: ModuleType, _name: str) -> None:
    def make_start(original: Any) -> Any:
        def start(self: Any) -> Any:
            # What is in here is pickled for a process that is started anew; one that is forked has
            # its parent's context already.
            own = vars(self)
            carrier = _carrier()
            if carrier:
                own[_HANDOVER] = _Handover(carrier)
            try:
                with QUIET:
                    return original(self)
            finally:
                own.pop(_HANDOVER, None)

        return start

    _replace(vars(process)["BaseProcess"], "start", make_start)


class Task:
    """A function that works in the context in which it was handed to another process."""

    __slots__ = ("carrier", "function")

    def __init__(self, function: Callable[..., Any], carrier: dict[str, str]) -> None:
        self.function = function
        self.carrier = carrier

    def __reduce__(self) -> tuple[Any, ...]:
        return Task, (self.function, self.carrier)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with propagation.attach(self.carrier), QUIET:
            return self.function(*args, **kwargs)


def _task(function: Any) -> Any:
    carrier = _carrier()
    if not carrier or not callable(function) or not _is_importable_in_children():
        return function
    return Task(function, carrier)


def _is_importable_in_children() -> bool:
    """Whether a worker can import `Task`: it is watched too, or has the package on its path."""
    if SITE_DIRECTORY in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        return True
    from importlib.machinery import PathFinder  # noqa: PLC0415 - loaded already

    return PathFinder.find_spec("orchwatch") is not None


def _make_task_of_first(original: Any) -> Any:
    def method(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        with QUIET:
            return original(self, _task(function), *args, **kwargs)

    return method


def _follow_pools(pool: ModuleType, _name: str) -> None:
    # `apply`, `map`, `starmap` and the rest call one of these.
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        _replace(vars(pool)["Pool"], name, _make_task_of_first)


def _follow_executors(module: ModuleType, _name: str) -> None:
    _replace(vars(module)["ProcessPoolExecutor"], "submit", _make_task_of_first)


_HOOKS: dict[str, Callable[[ModuleType, str], None]] = {
    "subprocess": _follow_subprocess,
    "multiprocessing.process": _follow_processes,
    "multiprocessing.pool": _follow_pools,
    "concurrent.futures.process": _follow_executors,
}
