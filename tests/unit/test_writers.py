"""Nothing in the package writes to a terminal past `orchwatch.cli.output`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import orchwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(orchwatch.__file__).parent

ALLOWED = {
    ("monitor/worker.py", "sys.stdout.buffer"): "a pipe to the process that started it",
    ("cli/parser.py", "sys.__stdout__"): "asks how wide it is",
    ("cli/main.py", "sys.stdout ="): "puts the safe one in place, and the one before back",
    ("cli/main.py", "sys.stderr ="): "as above",
    ("cli/pager.py", "sys.stdout ="): "as above; what it sends to the pager is safe by then",
    (
        "demo/batch_policy.py",
        "print",
    ): "runs as a hook of its own; a reason holds names by their repr",
}


def _found() -> Iterator[tuple[str, str]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_bytes())):
            written = _writer(node)
            if written:
                yield name, written


def _writer(node: ast.AST) -> str | None:
    """What goes past the safe streams, or may."""
    if isinstance(node, ast.Attribute):
        of = ast.unparse(node.value)
        if of == "sys" and node.attr in ("__stdout__", "__stderr__"):
            return f"sys.{node.attr}"
        if of in ("sys", "sys.stdout", "sys.stderr") and isinstance(node.ctx, ast.Store):
            return f"{of}.{node.attr} ="
        if of in ("sys.stdout", "sys.stderr", "self._to") and node.attr in ("buffer", "_stream"):
            return f"{of}.{node.attr}"
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in ("print", "json.dump", "pprint.pprint"):
            return called
        if called in ("os.write", "os.fdopen", "open") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and first.value in (1, 2):
                return f"{called}({first.value})"
    return None


def test_nothing_writes_past_the_safe_streams() -> None:
    found = set(_found())
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set(), "a reason that nobody needs any more"
