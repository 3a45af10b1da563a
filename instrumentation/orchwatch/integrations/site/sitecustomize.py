"""Runs at the start of every Python process below `orchwatch run`; nothing imports it by name.

It wraps what is configured and then hands over to the `sitecustomize` that would have run without
it. It must not break any program, whatever Python and packages that program has.
"""
# ruff: noqa: INP001 - the directory stands on sys.path and must hold no package
# ruff: noqa: PLC0415 - a Python that is too old must not get to the imports

import os
import sys


def _wrap_configured() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the program's Python, not this project's
        return
    try:
        import orchwatch  # noqa: F401 - the program's own, where it has one
    except ImportError:
        _make_importable()
    from orchwatch.integrations import children, wrapping

    children.follow()
    wrapping.apply_configured()


def _make_importable() -> None:
    # Only the one package: what lies beside it are not the program's dependencies.
    package = os.path.dirname(os.path.dirname(_HERE))
    _execute("orchwatch", os.path.dirname(package))


def _execute(name: str, *path: str) -> None:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
try:
    _wrap_configured()
finally:
    _execute("sitecustomize", *sys.path)
