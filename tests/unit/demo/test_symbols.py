from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.demo import symbols

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import os.path, sys
from json import dumps

class A:
    async def b(self):
        from . import sibling
        def c(): ...
        from ..above import d
"""


def test_functions_classes_and_imports_are_counted(tmp_path: Path) -> None:
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    (tmp_path / "pack" / "sub" / "a.py").write_text(SOURCE)
    module = symbols.read_module("pack/sub/a.py", tmp_path)
    assert module.totals == symbols.Totals(files=1, functions=2, classes=1, imports=4)
    assert module.imports == ["json", "os.path", "pack.above", "pack.sub.sibling", "sys"]
    assert symbols.from_report(symbols.as_report(module)) == module


@pytest.mark.parametrize("content", [b"print 'Python 2'", b"\0", b"\xff\xfe\xfd", b"def f(:"])
def test_what_cannot_be_parsed_is_counted_as_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    module = symbols.read_module("bad.py", tmp_path)
    assert module.totals == symbols.Totals(files=1, unreadable=1)


@pytest.mark.parametrize(
    ("file", "name"), [("a.py", "a"), ("a/b.py", "a.b"), ("a/__init__.py", "a")]
)
def test_a_file_has_the_name_of_its_module(file: str, name: str) -> None:
    assert symbols.module_name(file) == name


def test_the_library_is_the_standard_library_without_its_tests() -> None:
    files = symbols.library_files()
    assert {"ast.py", "json/__init__.py", "asyncio/events.py"} <= set(files)
    assert not [file for file in files if "site-packages" in file or "/test" in file]
    assert symbols.library_files(10) == files[:10]
