"""What the agents do: read Python source files and count what they define and import."""

from __future__ import annotations

import ast
import sysconfig
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchwatch.recording import files

LIBRARY = Path(sysconfig.get_path("stdlib"))
# What others installed is not the standard library, and its own tests are twice its size.
OTHERS = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
# Twenty times the largest there is.
_MAX_BYTES = 16 * 1024 * 1024


@dataclass
class Totals:
    """Symbols counted, over one file or over many."""

    files: int = 0
    functions: int = 0
    classes: int = 0
    imports: int = 0
    unreadable: int = 0

    def add(self, other: Totals) -> None:
        """Add the counts of `other`."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Module:
    """One source file: what it counts, and the names of the modules that it imports."""

    file: str
    totals: Totals = field(default_factory=Totals)
    imports: list[str] = field(default_factory=list)


def library_files(limit: int | None = None, library: Path = LIBRARY) -> list[str]:
    """The standard library's source files, relative to it and sorted; at most `limit`."""
    files = (path.relative_to(library) for path in library.rglob("*.py"))
    return sorted(str(file) for file in files if not OTHERS.intersection(file.parts))[:limit]


def read_module(file: str, library: Path = LIBRARY) -> Module:
    """Parse one file; one that this Python cannot parse counts as unreadable."""
    module = Module(file, Totals(files=1))
    try:
        tree = ast.parse(files.read(library / file, _MAX_BYTES))
    except (OSError, SyntaxError, ValueError):
        module.totals.unreadable = 1
        return module
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            module.totals.functions += 1
        elif isinstance(node, ast.ClassDef):
            module.totals.classes += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module.totals.imports += 1
            imported.update(_imported(node, file))
    module.imports = sorted(imported)
    return module


def module_name(file: str) -> str:
    """`a/b.py` is module `a.b`, `a/__init__.py` is `a`."""
    parts = file.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.Import | ast.ImportFrom, file: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level == 0:
        return [node.module] if node.module else []
    # `from ..x import y` in a/b/c.py is a.x: each dot leaves one part of the path.
    package = file.split("/")[: -node.level]
    base = ".".join([*package, node.module] if node.module else package)
    return [base] if node.module else [f"{base}.{alias.name}".lstrip(".") for alias in node.names]


def count_alone(files: list[str], library: Path = LIBRARY) -> Totals:
    """The same counts by a single process, to compare the agents' with."""
    totals = Totals()
    for file in files:
        totals.add(read_module(file, library).totals)
    return totals


def as_report(module: Module) -> dict[str, Any]:
    """A module as the body of a message."""
    return asdict(module)


def from_report(report: dict[str, Any]) -> Module:
    """A module out of the body of a message."""
    return Module(report["file"], Totals(**report["totals"]), report["imports"])
