"""What the agents do: read Python source files and count what they define and import."""

from __future__ import annotations

import ast
import sysconfig
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

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


def totals(counts: Mapping[str, Any]) -> Totals:
    """What the state has of them, perhaps beside something else."""
    return Totals(**{each.name: counts[each.name] for each in fields(Totals)})


def library_files(limit: int | None = None, library: Path = LIBRARY) -> list[str]:
    """The standard library's source files, relative to it and sorted; at most `limit`."""
    files = (path.relative_to(library) for path in library.rglob("*.py"))
    return sorted(str(file) for file in files if not OTHERS.intersection(file.parts))[:limit]


def read(file: str, library: Path = LIBRARY) -> Totals:
    """Parse one file; one that this Python cannot parse counts as unreadable."""
    found = Totals(files=1)
    try:
        tree = ast.parse(files.read(library / file, _MAX_BYTES))
    except (OSError, SyntaxError, ValueError):
        found.unreadable = 1
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.functions += 1
        elif isinstance(node, ast.ClassDef):
            found.classes += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.imports += 1
    return found


def count_alone(files: list[str], library: Path = LIBRARY) -> Totals:
    """The same counts by a single process, to compare the agents' with."""
    found = Totals()
    for file in files:
        found.add(read(file, library))
    return found
