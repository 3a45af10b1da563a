"""Nothing in the package opens a file but through `orchwatch.recording.files`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import orchwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(orchwatch.__file__).parent

ALLOWED = {
    ("cli/main.py", "open"): "/dev/null, in the place of a stdout that was closed",
    ("cli/main.py", "os.open"): "as above",
    ("diagnosis/client.py", "_OPENER.open"): "an address, with a time limit",
    ("diagnosis/fleet/gateway.py", "opener.open"): "as above",
    ("cli/commands/dashboard.py", "tempfile.TemporaryDirectory"): "a new directory",
    ("semconv/mapping.py", "FILE.read_text"): "a file of the package",
    ("store/bundle.py", "archive.open"): "a member of a zip that `files` has opened",
    ("diagnosis/doctor.py", "tempfile.TemporaryFile"): "a new file without a name",
    ("monitor/intake.py", "tempfile.TemporaryFile"): "as above",
    ("bench/components/own.py", "tempfile.TemporaryFile"): "as above",
    (
        "agents/sessions/import_record.py",
        "sqlite3.connect",
    ): "what `files` has just opened there",
    ("agents/sessions/claims.py", "sqlite3.connect"): "as above",
    ("agents/codex/compressed.py", "os.fdopen"): "of a file that is open",
    ("cli/destination.py", "os.fdopen"): "as above",
    ("agents/codex/compressed.py", "tempfile.TemporaryFile"): "a new file without a name",
    ("agents/sessions/databases.py", "sqlite3.connect"): "for reading only, of what is a file",
    ("runtime/database.py", "sqlite3.connect"): "as above",
    ("runtime/schema.py", "sqlite3.connect"): "as above",
    ("runtime/event_state.py", "sqlite3.connect"): "in memory",
    ("store/engine.py", "duckdb.connect"): "in memory; the store looks at its files first",
}
# Methods of a path, and functions that take one.
_METHODS = frozenset(
    {"open", "fdopen", "read_text", "read_bytes", "write_text", "write_bytes", "mkfifo", "touch"}
)
_MODULES = {
    "tempfile": None,
    "sqlite3": {"connect"},
    "duckdb": {"connect"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
    "os": {"open", "fdopen", "truncate"},
    "io": {"open", "open_code", "FileIO"},
    "gzip": None,
    "codecs": {"open"},
    "linecache": None,
    "mmap": None,
    "runpy": None,
}


def _found() -> Iterator[tuple[str, str]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        if name == "recording/files.py":
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and _opens(node.func):
                yield name, ast.unparse(node.func)
            elif isinstance(node, ast.ImportFrom) and node.module in _MODULES:
                taken = {alias.name for alias in node.names}
                for opener in taken & (_MODULES[node.module] or taken):
                    yield name, f"{node.module}.{opener}"


def _opens(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id == "open"
    if not isinstance(called, ast.Attribute):
        return False
    of = ast.unparse(called.value)
    if of in _MODULES:
        openers = _MODULES[of]
        return openers is None or called.attr in openers
    return called.attr in _METHODS


def test_no_file_is_opened_past_the_one_opener() -> None:
    found = set(_found())
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set(), "a reason that nobody needs any more"
