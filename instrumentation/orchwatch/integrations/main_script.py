"""Watches functions of the script that is run: its code is changed before it is executed.

The interpreter reads a script itself, past every import hook. But it first asks whether the script
is a directory or an archive, by `sys.path_importer_cache`; where the answer is yes, it leaves the
running to `runpy`. So a script that defines a watched function is announced as one, and is executed
here just as the interpreter would have: same names in `__main__`, same path, same tracebacks.

Everything else that is run as `__main__` (`-m`, directories, archives, and the script again in the
children of `multiprocessing`, as `__mp_main__`) comes through `runpy` anyway.

Code given by `-c` or on standard input has no file and is not watched.
"""

from __future__ import annotations

import os
import sys

from orchwatch.integrations import import_hook
from orchwatch.recording import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    from orchwatch.integrations.shim import Watch

    Choose = Callable[[list[str]], list[Watch]]
    Change = Callable[[CodeType, list[Watch]], CodeType]

_MAX_BYTES = 16 * 1024 * 1024
MAIN = "__main__"

_follower: tuple[Choose, Change] | None = None


def when_run(choose: Choose, change: Change) -> None:
    """Has the code of what is run from now on changed before it is executed.

    Args:
        choose: Returns the watches for a script, by its names; see `names_of`.
        change: Returns its code with those watched.
    """
    global _follower  # noqa: PLW0603 - a process has one `__main__`
    _follower = (choose, change)
    runpy = sys.modules.get("runpy")
    if runpy is None:
        import_hook.when_imported("runpy", _follow_runpy)
    else:
        _follow_runpy(runpy, "runpy")


def announce() -> None:
    """Takes over the script that the interpreter is about to run, if it is to be changed."""
    started = sys.argv[0] if sys.argv else ""
    if started in ("", "-", "-c", "-m") or _follower is None:
        return
    choose, change = _follower
    try:
        # As the interpreter spells it: not normalized.
        path = started if os.path.isabs(started) else f"{os.getcwd()}/{started}"
        watches = choose(names_of(path))
        if not watches:
            return
        code = _read(path)
    except (OSError, SyntaxError, ValueError, EOFError, ImportError, RecursionError, MemoryError):
        return  # the interpreter will say so itself
    if code is None:
        return
    changed = change(code, watches)
    if changed is code:
        return
    import runpy  # noqa: PLC0415 - slow, and rarely needed

    original = vars(runpy)["_run_module_as_main"]

    def run_script(_name: str, _alter_argv: bool) -> None:  # noqa: FBT001 - as the interpreter calls it
        vars(runpy)["_run_module_as_main"] = original
        _forget(path)
        try:
            exec(changed, _prepare(path))  # noqa: S102 - it is what the interpreter would execute
        except BaseException as error:
            if error.__traceback__ is not None:  # as if the interpreter had run it
                error.__traceback__ = error.__traceback__.tb_next
            raise

    vars(runpy)["_run_module_as_main"] = run_script
    sys.path_importer_cache[path] = _Announced()


def is_running() -> bool:
    """Whether `__main__` is being executed, or has been: it is too late to change its code."""
    main = vars(sys.modules[MAIN])
    if "__file__" in main:
        return True
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_globals is main:
            return True
        frame = frame.f_back
    return False


def names_of_main() -> list[str]:
    """The names that a user may give the script that is running."""
    main = sys.modules[MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return names_of(file or MAIN, spec.name if spec is not None else "")


def runs_as_script(package: ModuleType) -> bool:
    """Whether the name may also mean what `python -m` runs of a package, its `__main__`."""
    places = getattr(package, "__path__", ())
    return any(os.path.isfile(os.path.join(place, f"{MAIN}.py")) for place in places)


def names_of(path: str, module_name: str = "") -> list[str]:
    """The names that a user may give the script at that path, the module's name first."""
    names = [module_name]
    for whole in {os.path.normpath(path), os.path.realpath(path)}:
        stem = whole.removesuffix(f"/{MAIN}.py").removesuffix(f"/{MAIN}.pyc")
        for suffix in (".py", ".pyc", ".pyz"):
            stem = stem.removesuffix(suffix)
        names += [stem, whole]
    return names


def is_named(name: str, names: list[str]) -> bool:
    """Whether a name means that script.

    It may be the module's name, the file's with or without its suffix (`my-hook`, `my-hook.py`),
    the end of its path (`hooks/my-hook.py`), or that end as a module would be called
    (`hooks.spawn`).
    """
    module_name, *paths = names
    if name == MAIN or name in names:
        return True
    if module_name and "/" not in name:
        return name == module_name.removesuffix(f".{MAIN}")
    ends = [name] if "/" in name else [name, name.replace(".", "/")]
    ends = [f"/{end.removeprefix('./')}" for end in ends]
    return any(path.endswith(end) for path in paths for end in ends)


class _Announced:
    """A path entry finder by which the interpreter takes a script for a directory."""

    def find_spec(self, *_: object) -> None:
        return None


def _read(path: str) -> CodeType | None:
    """The compiled script; None for a directory or an archive, which runs through `runpy`."""
    if not os.path.isfile(path):
        return None
    if path.endswith(".pyc"):
        from importlib.machinery import SourcelessFileLoader  # noqa: PLC0415 - rarely needed

        return SourcelessFileLoader(MAIN, path).get_code(MAIN)
    source = files.read(path, _MAX_BYTES)
    if source.startswith(b"PK\3\4") or b"\0" in source:
        return None
    import warnings  # noqa: PLC0415 - loaded already by nearly every program

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is compiled once more where nothing is changed
        return compile(source, path, "exec", dont_inherit=True)


def _forget(path: str) -> None:
    sys.path_importer_cache.pop(path, None)
    # It stands first on the path as the archive that it is taken for.
    if sys.path and sys.path[0] == path:
        if getattr(sys.flags, "safe_path", False):
            del sys.path[0]
        else:
            sys.path[0] = os.path.dirname(os.path.realpath(path))


def _prepare(path: str) -> dict[str, Any]:
    """The namespace of `__main__` as a script finds it."""
    from importlib.machinery import SourceFileLoader, SourcelessFileLoader  # noqa: PLC0415

    loader = SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader
    main = vars(sys.modules[MAIN])
    main.update(__file__=path, __cached__=None, __loader__=loader(MAIN, path))
    return main


def _follow_runpy(runpy: ModuleType, _name: str) -> None:
    """Patches `runpy` to change the code that it runs, unless it has been replaced."""
    from_file: Any = getattr(runpy, "_get_code_from_file", None)
    details: Any = getattr(runpy, "_get_module_details", None)

    def code_from_file(*words: Any) -> Any:
        found = from_file(*words)
        path = os.path.abspath(os.fsdecode(words[-1]))
        if isinstance(found, tuple):  # Python 3.11
            return (_changed(found[0], path), *found[1:])
        return _changed(found, path)

    def module_details(*words: Any) -> Any:
        name, spec, code = details(*words)
        import_hook.step_back(spec)
        module_name = "" if name == MAIN else name
        return name, spec, _changed(code, spec.origin or name, module_name)

    followed = getattr(details, "__module__", "") == __name__
    if not followed and from_file is not None and details is not None:
        vars(runpy).update(_get_code_from_file=code_from_file, _get_module_details=module_details)


def _changed(code: CodeType, path: str, module_name: str = "") -> CodeType:
    if _follower is None:
        return code
    choose, change = _follower
    watches = choose(names_of(path, module_name))
    return change(code, watches) if watches else code
