"""Whether what `pip install 'orchwatch[...]'` brings is there, fits, and can be imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement

from orchwatch.monitor.check import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

# Whoever uses an extra first. Another version of a library may well be imported, and lack what is
# used of it: so these are imported, not the library alone.
_USERS: Final = {
    "local": ("orchwatch.monitor.engine", "orchwatch.runtime.queries"),
    "grafana": ("orchwatch.mixin.dashboards.overview",),
}
_IMPORT: Final = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1])
except BaseException as error:
    error = error.__cause__ or error
    sys.exit(f"{type(error).__name__}: {error}")
"""
_ERROR_CHARACTERS: Final = 300


def check_extras() -> Iterator[Check]:
    """One check for each extra of the installed package.

    Raises:
        PackageNotFoundError: The package is not installed.
    """
    for extra in metadata.metadata("orchwatch").get_all("Provides-Extra") or ():
        yield _check(extra)


def _check(extra: str) -> Check:
    requirements = _requirements(extra)
    remedy = f"pip install 'orchwatch[{extra}]'"
    missing = [wanted.name for wanted in requirements if not _version(wanted.name)]
    if missing:
        return Check(
            name=f"extra {extra}",
            state="warn",
            found=f"{', '.join(missing)} not installed: what needs it says so",
            remedy=remedy,
        )
    error = next(_misfits(requirements), "") or _import_error(extra)
    if error:
        return Check(name=f"extra {extra}", state="fail", found=error, remedy=remedy)
    return Check(name=f"extra {extra}", state="ok", found="installed, and can be imported")


def _requirements(extra: str) -> list[Requirement]:
    """What an extra wants on this Python, beyond what the package wants without it."""
    found = [Requirement(text) for text in metadata.requires("orchwatch") or ()]
    return [
        wanted
        for wanted in found
        if wanted.marker
        and wanted.marker.evaluate({"extra": extra})
        and not wanted.marker.evaluate({"extra": ""})
    ]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _misfits(requirements: list[Requirement]) -> Iterator[str]:
    for wanted in requirements:
        version = _version(wanted.name)
        if not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name} {version} is installed, {wanted.specifier} is wanted"


def _import_error(extra: str) -> str:
    """What goes wrong when an extra is imported, in one line.

    In another process: what is broken may end it, or print what it likes.
    """
    for module in _USERS.get(extra, ()):
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _IMPORT, module],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if ended.returncode:
            words = " ".join(ended.stderr.split())[-_ERROR_CHARACTERS:]
            reason = words or f"its process ended with {ended.returncode}"
            return f"{module} cannot be imported: {reason}"
    return ""
