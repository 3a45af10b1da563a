from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.unit.claude.conftest import at

from orchwatch.claude import lines
from orchwatch.claude.lines import LineFile, merged

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(path: Path, *seconds: float) -> LineFile:
    path.write_text("".join(f'{{"timestamp":"{at(second)}"}}\n' for second in seconds))
    return LineFile(str(path), 0, Counter())


def test_lines_of_several_files_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a", 1, 4, 5, 20),
        write(tmp_path / "b", 2, 3, 30),
        write(tmp_path / "c"),
    ]
    told = []
    for index in merged(files):
        files[index].take()
        told.append("abc"[index])
    assert "".join(told) == "abbaaab"
    assert [file.offset for file in files] == [
        (tmp_path / name).stat().st_size for name in ("a", "b", "c")
    ]


def test_reading_goes_on_at_an_offset(tmp_path: Path) -> None:
    file = write(tmp_path / "a", 1, 2, 3)
    for _ in merged([file]):
        file.take()
        break
    again = LineFile(str(tmp_path / "a"), file.offset, Counter())
    assert [again.take() for _ in merged([again])] == [
        line + b"\n" for line in (tmp_path / "a").read_bytes().splitlines()[1:]
    ]


def test_a_line_that_no_memory_should_hold_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a"
    path.write_text("{}\n" + "x" * 1000 + "\n{}\n" + "y" * 100 + "\n{}\n")
    skipped: Counter[str] = Counter()
    file = LineFile(str(path), 0, skipped)
    assert [file.take() for _ in merged([file])] == [b"{}\n"] * 3
    assert skipped.total() == 2
    assert file.offset == path.stat().st_size
