from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orchwatch.monitor import tail
from orchwatch.monitor.tail import Tail
from orchwatch.recording import files

if TYPE_CHECKING:
    from pathlib import Path


def _read(found: Tail) -> bytes:
    return b"".join(found.pieces())


def test_what_is_appended_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1\n2\n")
    found = Tail(path=str(file))
    assert _read(found) == b"1\n2\n"
    assert _read(found) == b""
    with file.open("ab") as more:
        more.write(b"3\n")
    assert found.has_changed(os.stat(file))
    assert _read(found) == b"3\n"
    assert not found.has_changed(os.stat(file))


def test_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1\nha")
    found = Tail(path=str(file))
    assert _read(found) == b"1\n"
    with file.open("ab") as more:
        more.write(b"lf\n")
    assert _read(found) == b"half\n"


def test_another_process_goes_on_where_one_stopped(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1\n")
    found = Tail(path=str(file))
    _read(found)
    restored = Tail.restored(str(file), found.position())
    with file.open("ab") as more:
        more.write(b"2\n")
    assert _read(restored) == b"2\n"


def test_a_truncated_file_is_read_anew_when_it_holds_something_else(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"old 1\nold 2\n")
    found = Tail(path=str(file))
    _read(found)
    file.write_bytes(b"new\n")
    assert _read(found) == b"new\n"


def test_a_file_that_took_the_place_of_another_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"old\n")
    found = Tail(path=str(file))
    _read(found)
    other = tmp_path / "b.jsonl"
    other.write_bytes(b"new, and longer than the old one\n")
    other.replace(file)
    assert found.has_changed(os.stat(file))
    assert _read(found) == b"new, and longer than the old one\n"


def test_a_file_restored_from_a_copy_of_itself_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1\n2\n")
    found = Tail(path=str(file))
    _read(found)
    copy = tmp_path / "b.jsonl"
    copy.write_bytes(b"1\n2\n3\n")
    copy.replace(file)
    assert _read(found) == b"3\n"


@pytest.mark.parametrize("size", [1500, 2002, 2003], ids=str)
def test_a_file_cut_short_is_read_anew(tmp_path: Path, size: int) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x" * 2000 + b"\n2\n3\n")
    found = Tail(path=str(file))
    _read(found)
    os.truncate(file, size)
    with file.open("ab") as more:
        more.write(b"\n4 and more\n")
    assert _read(found) == file.read_bytes()
    assert found.restarts == 1


def test_a_file_changed_in_place_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1" * 5000 + b"\n" + b"2" * 5000 + b"\n" + b"3" * 5000 + b"\n")
    found = Tail(path=str(file))
    _read(found)
    changed = file.read_bytes().replace(b"2", b" ")
    file.write_bytes(changed)
    os.utime(file, ns=(1, 1))
    assert found.has_changed(os.stat(file))
    assert _read(found) == changed
    pruned = changed.replace(b"3333", b"3") + b"4" * 9000 + b"\n"
    file.write_bytes(pruned)
    assert _read(found) == pruned
    assert found.restarts == 2


def test_a_whole_record_needs_no_end_of_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a":1}\n{"a":{"b":2}')
    found = Tail(path=str(file))
    assert _read(found) == b'{"a":1}\n'
    with file.open("ab") as more:
        more.write(b"}")
    assert _read(found) == b'{"a":{"b":2}}'
    with file.open("ab") as more:
        more.write(b'\n{"a":3}\n')
    assert _read(found) == b'\n{"a":3}\n'


def test_pieces_are_bounded_and_hold_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "PIECE_BYTES", 64)
    file = tmp_path / "a.jsonl"
    content = b"".join(b"%020d\n" % number for number in range(50)) + b"y" * 500 + b"\n"
    file.write_bytes(content)
    found = Tail(path=str(file))
    pieces = list(found.pieces())
    assert b"".join(pieces) == content
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert max(map(len, pieces[:-1])) <= 64


def test_a_line_that_no_memory_should_hold_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "PIECE_BYTES", 64)
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 256)
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"1\n" + b"z" * 1000 + b"\n2\n")
    found = Tail(path=str(file))
    assert _read(found) == b"1\n2\n"
    assert found.too_long == 1


def test_a_file_that_is_gone_has_nothing_to_read(tmp_path: Path) -> None:
    assert _read(Tail(path=str(tmp_path / "gone.jsonl"))) == b""
