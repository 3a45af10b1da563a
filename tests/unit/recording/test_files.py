from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from orchwatch.recording import files

if TYPE_CHECKING:
    from pathlib import Path


def _put(kind: str, path: Path) -> None:
    """Something that is no plain file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.close()
    else:
        path.symlink_to("/dev/zero")


KINDS = ("pipe", "directory", "socket", "device")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_named_and_not_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    _put(kind, path)

    with pytest.raises(files.NotRegularError, match=kind) as raised:
        files.read(path, 100)

    assert raised.value.filename == str(path)
    with pytest.raises(files.NotRegularError):
        files.descriptor(path, os.O_RDWR | os.O_CREAT)


def test_a_process_that_waits_at_a_pipe_is_not_woken(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    opened = threading.Event()

    def wait() -> None:
        with path.open("wb"):
            opened.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    for _ in range(100):
        with pytest.raises(files.NotRegularError):
            files.read(path, 100)
    assert not opened.is_set()
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    waiting.join()
    os.close(end)


def test_a_link_to_a_file_is_followed_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.json").write_bytes(b"{}")
    link = tmp_path / "settings.json"
    link.symlink_to("dotfiles.json")

    assert files.read(link, 100) == b"{}"
    with pytest.raises(files.NotRegularError, match="symbolic link"):
        files.read(link, 100, links=False)


def test_a_file_of_its_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    assert len(files.read(path, 100_000)) == 100_000
    with pytest.raises(files.TooLargeError, match="more than 99999 bytes"):
        files.read(path, 99_999)


def test_what_has_no_size_is_bounded_all_the_same() -> None:
    assert files.read("/proc/self/stat", 10_000)
    with pytest.raises(files.TooLargeError):
        files.read("/proc/self/stat", 10)


def test_five_gigabytes_of_nothing_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(5 << 30)

    with pytest.raises(files.TooLargeError) as raised:
        files.read(path, 1000)

    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_have_is_an_os_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a valid file name"):
        files.read(f"{tmp_path}/{name}", 100)


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + b"x" * 200_000 + b"\ntwo\n" + b"y" * 10 + b"\nhalf")

    with files.reader(path) as file:
        found = list(files.lines(file, 10))

    assert found == [b"one\n", b"x" * 10, b"two\n", b"y" * 10, b"half"]


def test_descriptors_are_not_handed_on_to_children(tmp_path: Path) -> None:
    file = files.descriptor(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    assert not os.get_inheritable(file)
    assert os.fstat(file).st_mode & 0o777 == 0o600
    os.close(file)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_whatever_is_no_directory_is_replaced_and_not_written_through(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot.json"
    _put(kind, path)

    files.replace(path, b"new", sync=True)

    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_a_directory_is_not_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        files.replace(path, b"new")

    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    os.mkfifo(f"{path}.{os.getpid()}.tmp")

    files.replace(path, b"new")

    assert path.read_bytes() == b"new"
