from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.unit.agents.claude_code.conftest import at

from orchwatch.agents.sessions import lines
from orchwatch.agents.sessions.lines import LineFile, merged

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(path: Path, *seconds: float) -> LineFile:
    path.write_text("".join(f'{{"timestamp":"{at(second)}"}}\n' for second in seconds))
    return LineFile(str(path), Counter())


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


def test_a_line_holds_whole_records_whatever_stands_between_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    one, two = b'{"sessionId":"s","n":1}', b'{"n":2,"sessionId":"s","inner":{"sessionId":"t"}}'
    damaged = b'{"sessionId":"s","inner":{"type":"user"},"cut'
    for line, expected, reasons in (
        (one + two, [1, 2], {}),
        (b"\0" * 600 + one + b" \r", [1], {}),
        (damaged + two + b"\xff" + one, [2, 1], {"no JSON": 2}),
        (b'\xef\xbb\xbf{"sessionId":"s","n":3,"text":"a\xffb\x01"}', [3], {}),
        (b"[" * 100_000, [], {"no JSON": 1}),
        (b'{"a":' * 5_000, [], {"no JSON": 1}),
        (b"", [], {"blank": 1}),
    ):
        path.write_bytes(line + b"\n")
        skipped: Counter[str] = Counter()
        file = LineFile(str(path), skipped)
        found = [record["n"] for _ in merged([file]) for record in file.take()[0]]
        assert (found, dict(+skipped)) == (expected, reasons), line[:80]


def test_a_line_that_no_memory_should_hold_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a"
    path.write_text("{}\n" + "x" * 1000 + "\n{}\n" + "y" * 100 + "\n{}\n")
    skipped: Counter[str] = Counter()
    file = LineFile(str(path), skipped)
    assert [file.take() for _ in merged([file])] == [([{}], 3)] * 3
    assert skipped.total() == 2
    assert file.offset == path.stat().st_size


def test_a_file_that_is_gone_holds_nothing_and_one_that_cannot_be_read_is_counted(
    tmp_path: Path,
) -> None:
    skipped: Counter[str] = Counter()
    assert not LineFile(str(tmp_path / "gone"), skipped).peek()
    assert not skipped
    assert not LineFile(str(tmp_path), skipped).peek()
    assert skipped == {"unread for now: file": 1}
    assert lines.is_unread(skipped)
    assert not lines.is_unread({"unreadable message": 1})
