"""Whether what `pip install 'orchwatch[...]'` brings is there, fits, and can be imported."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement

from orchwatch.diagnosis import trial
from orchwatch.diagnosis.check import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first module that uses each extra. Another version of a library may well be imported, and lack
# what is used of it: so these are imported, not the library alone.
_USERS: Final = {
    "local": ("orchwatch.store.engine", "orchwatch.runtime.query_library"),
    "grafana": tuple(
        f"orchwatch.mixin.dashboards.{name}" for name in ("panels", "queries", "page")
    ),
    "tui": ("orchwatch.tui.app",),
    "history": ("orchwatch.analysis.segmentation",),
    "forecast": ("orchwatch.analysis.projection",),
    "codex": ("zstandard",),  # which its reader imports at the first file that is packed
    "prices": ("orchwatch.analysis.prices",),
    "config": ("opentelemetry.configuration",),  # imported where the environment names a file
}
_IMPORT: Final = """
import importlib, sys
try:
    for module in sys.argv[1:]:
        importlib.import_module(module)
except BaseException as error:
    error = error.__cause__ or error
    sys.exit(f"{type(error).__name__}: {error}")
"""
_MAX_ERROR_CHARACTERS: Final = 300


def check_extras() -> Iterator[Check]:
    """One check for each extra of the installed package.

    Raises:
        PackageNotFoundError: The package is not installed.
    """
    extras = metadata.metadata("orchwatch").get_all("Provides-Extra") or ()
    checks = {extra: _check_versions(extra) for extra in extras}
    present = [extra for extra, check in checks.items() if check.state == "ok"]
    # All of them in one process, as starting one takes longest; which of them failed is asked then.
    fine = not _import_error([module for extra in present for module in _USERS.get(extra, ())])
    for extra, check in checks.items():
        yield check if fine or extra not in present else _check_imports(extra, check)


def _check_imports(extra: str, check: Check) -> Check:
    for module in _USERS.get(extra, ()):
        error = _import_error([module])
        if error:
            found = f"{module} cannot be imported: {error}"
            return replace(check, state="fail", found=found, remedy=_remedy(extra))
    return check


def _check_versions(extra: str) -> Check:
    requirements = _requirements(extra)
    missing = [wanted.name for wanted in requirements if not _version(wanted.name)]
    if missing:
        return Check(
            name=f"extra {extra}",
            state="warn",
            found=f"{', '.join(missing)} not installed: what needs it says so",
            remedy=_remedy(extra),
        )
    error = next(_misfits(requirements), "")
    if error:
        return Check(name=f"extra {extra}", state="fail", found=error, remedy=_remedy(extra))
    return Check(name=f"extra {extra}", state="ok", found="installed, and can be imported")


def _remedy(extra: str) -> str:
    return f"pip install 'orchwatch[{extra}]'"


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


def _import_error(modules: list[str]) -> str:
    """What goes wrong when these are imported, in one line; empty where nothing does."""
    return trial.error(_IMPORT, *modules)[-_MAX_ERROR_CHARACTERS:]
