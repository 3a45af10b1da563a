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
    totals = symbols.read("pack/sub/a.py", tmp_path)
    assert totals == symbols.Totals(files=1, functions=2, classes=1, imports=4)


@pytest.mark.parametrize("content", [b"print 'Python 2'", b"\0", b"\xff\xfe\xfd", b"def f(:"])
def test_what_cannot_be_parsed_is_counted_as_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    assert symbols.read("bad.py", tmp_path) == symbols.Totals(files=1, unreadable=1)


def test_the_library_is_the_standard_library_without_its_tests() -> None:
    files = symbols.library_files()
    assert {"ast.py", "json/__init__.py", "asyncio/events.py"} <= set(files)
    assert not [file for file in files if "site-packages" in file or "/test" in file]
    assert symbols.library_files(10) == files[:10]
