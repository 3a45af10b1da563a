from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.recording import losses, spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]
    Lost = Callable[[], dict[str, int]]

pytestmark = pytest.mark.usefixtures("home")

OPERATIONS = spool.OPERATIONS


def line(number: int, size: int = 0) -> bytes:
    return json.dumps({"n": number, "filling": "x" * size}).encode() + b"\n"


def segments(home: Path, family: str = OPERATIONS) -> list[Path]:
    return sorted((home / "spool").glob(f"{family}-*.jsonl"))


def numbers(parsed: list[dict[str, Any]]) -> list[int]:
    return [entry["n"] for entry in parsed if "n" in entry]


def assert_header(segment: Path) -> str:
    first = json.loads(segment.read_bytes().split(b"\n", 1)[0])
    assert first["orchwatch"]["segment"] == segment.name.removesuffix(".jsonl")
    segment_id: str = first["orchwatch"]["id"]
    assert len(segment_id) == 32
    return segment_id


@pytest.mark.parametrize(
    ("family", "payload"),
    [
        (spool.OPERATIONS, "resourceSpans"),
        (spool.UNDELIVERED, "resourceSpans"),
        (spool.HISTORY, "resourceSpans"),
        (spool.METRICS, "resourceMetrics"),
    ],
)
def test_a_segment_starts_with_a_header_of_its_signal(
    home: Path, family: str, payload: str
) -> None:
    assert spool.append(family, line(1))
    (segment,) = segments(home, family)
    assert segment.name == f"{family}-000001.jsonl"
    header, written, rest = segment.read_bytes().split(b"\n")
    assert json.loads(header).keys() == {"orchwatch", payload}
    assert json.loads(written)["n"] == 1
    assert rest == b""


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_only_the_user_can_read_what_is_kept(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        spool.append(OPERATIONS, line(1))
        losses.count("bad_name")
        losses.flush()
    finally:
        os.umask(before)
    found = {
        str(path.relative_to(home)): stat.S_IMODE(path.stat().st_mode)
        for path in [home, *home.rglob("*")]
    }
    assert found == {
        ".": 0o700,
        "spool": 0o700,
        "spool/operations-000001.jsonl": 0o600,
        "losses": 0o600,
    }


def test_a_full_segment_is_followed_by_the_next_number(
    home: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "300")
    for number in range(20):
        assert spool.append(OPERATIONS, line(number, 40))
    written = segments(home)
    assert [path.name for path in written] == [
        f"operations-{number:06d}.jsonl" for number in range(1, len(written) + 1)
    ]
    assert len(written) > 3
    assert len({assert_header(path) for path in written}) == len(written)
    assert all(path.stat().st_size >= 300 for path in written[:-1])
    assert numbers(lines(OPERATIONS)[0]) == list(range(20))


def test_numbers_go_on_beyond_six_digits(home: Path) -> None:
    (home / "spool").mkdir(parents=True)
    (home / "spool" / "operations-999999.jsonl").write_bytes(b"x" * spool.SEGMENT_BYTES)
    (home / "spool" / "operations-²x.jsonl").touch()
    (home / "spool" / "operations-².jsonl").touch()
    assert spool.append(OPERATIONS, line(1))
    assert_header(home / "spool" / "operations-1000000.jsonl")
    assert spool.segment_numbers(str(home / "spool"), OPERATIONS) == [999_999, 1_000_000]


def test_an_open_segment_is_joined_by_a_process_that_starts_later(
    home: Path, run_python: Callable[..., str], lines: Lines
) -> None:
    spool.append(OPERATIONS, line(1))
    run_python("""
        from orchwatch.recording import spool
        assert spool.append("operations", b'{"n": 2}\\n')
    """)
    spool.append(OPERATIONS, line(3))
    assert numbers(lines(OPERATIONS)[0]) == [1, 2, 3]
    assert len(segments(home)) == 1


def test_families_do_not_mix(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1")
    for family in spool.FAMILIES:
        for number in range(3):
            spool.append(family, line(number))
    for family in spool.FAMILIES:
        assert len(segments(home, family)) >= 3


def test_a_partial_line_costs_nothing_but_itself(home: Path, lines: Lines) -> None:
    spool.append(OPERATIONS, line(1))
    with segments(home)[0].open("ab") as other:
        other.write(line(2)[:-5])
    spool.append(OPERATIONS, line(3))
    spool.append(OPERATIONS, line(4))
    parsed, unreadable = lines(OPERATIONS)
    assert (numbers(parsed), unreadable) == ([1, 3, 4], 1)


def test_a_removed_spool_is_made_again(home: Path, lines: Lines, lost: Lost) -> None:
    spool.append(OPERATIONS, line(1))
    shutil.rmtree(home)
    assert spool.append(OPERATIONS, line(2))
    assert_header(segments(home)[0])
    assert numbers(lines(OPERATIONS)[0]) == [2]
    assert lost() == {}


def test_a_spool_that_was_moved_away_is_noticed_within_a_second(
    home: Path, lines: Callable[[str], tuple[list[dict[str, Any]], int]]
) -> None:
    assert spool.append(OPERATIONS, line(1))
    (home / "spool").rename(home / "old")
    spool._spools[OPERATIONS]._next_look -= spool._LOOK_INTERVAL_S
    assert spool.append(OPERATIONS, line(2))
    assert numbers(lines(OPERATIONS)[0]) == [2]
    (home / "spool").rename(home / "older")
    (home / "old").rename(home / "spool")
    spool._spools[OPERATIONS]._next_look -= spool._LOOK_INTERVAL_S
    assert spool.append(OPERATIONS, line(3))
    assert numbers(lines(OPERATIONS)[0]) == [1, 3]


def test_a_changed_home_is_followed_at_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file in the way")
    assert not spool.append(OPERATIONS, line(1))
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "other"))
    assert spool.append(OPERATIONS, line(2))
    assert len(segments(tmp_path / "other")) == 1


@pytest.mark.parametrize("value", ["0", "-1", "8MiB", "1.5", " 7", "9" * 5000, "²"])
def test_a_setting_that_is_no_number_is_counted_and_ignored(
    monkeypatch: pytest.MonkeyPatch, home: Path, lost: Lost, value: str
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", value)
    for number in range(3):
        assert spool.append(OPERATIONS, line(number))
    assert len(segments(home)) == 1
    assert lost() == {"bad_setting": 1}


# What cannot be written.


def test_a_home_that_is_a_file_loses_lines_and_counts_them(home: Path, lost: Lost) -> None:
    home.write_text("in the way")
    for number in range(5):
        assert not spool.append(OPERATIONS, line(number), 2)
    assert lost() == {"spool_unwritable": 10}
    assert home.read_text() == "in the way"


def test_a_segment_that_is_a_link_is_not_followed(home: Path, tmp_path: Path, lost: Lost) -> None:
    (home / "spool").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (home / "spool" / "operations-000001.jsonl").symlink_to(victim)
    assert spool.append(OPERATIONS, line(1))
    assert victim.read_text() == "precious"
    assert lost() == {}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_stands_in_a_segments_place_is_left_there_and_the_next_one_used(
    home: Path, lines: Lines, make: Callable[[Path], None]
) -> None:
    (home / "spool").mkdir(parents=True)
    make(home / "spool" / "operations-000001.jsonl")
    assert spool.append(OPERATIONS, line(1))
    (home / "spool" / "operations-000001.jsonl").rename(home / "elsewhere")
    assert len(lines(OPERATIONS)[0]) == 2


def test_a_host_that_closes_every_descriptor_keeps_its_own_files(
    run_python: Callable[..., str], named: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    printed = run_python(
        """
        import os, socket
        from orchwatch import operation
        with operation("before"):
            pass
        os.closerange(3, 256)
        with open(sys.argv[1], "w+") as mine:
            with operation("beside a file"):
                pass
            mine.write("mine")
        os.closerange(3, 256)
        one, other = socket.socketpair()
        with operation("beside a socket"):
            pass
        one.send(b"mine too")
        print(other.recv(100))
        """,
        tmp_path / "mine",
    )
    assert printed == "b'mine too'\n"
    assert (tmp_path / "mine").read_text() == "mine"
    for name in ("before", "beside a file", "beside a socket"):
        assert named(name)


def test_a_relative_home_whose_directory_is_gone_raises_nothing(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    printed = run_python(
        f"""
        import os
        os.chdir({str(gone)!r})
        os.rmdir({str(gone)!r})
        from orchwatch import count, operation
        from orchwatch.recording import losses
        with operation("a"):
            count("b")
        losses.flush()
        print(losses.read())
        """,
        ORCHWATCH_HOME="relative",
    )
    assert printed == "{'spool_unwritable': 2}\n"


def test_a_user_without_rights_loses_lines_and_counts_them(
    home: Path, tmp_path: Path, start_python: Start
) -> None:
    home.mkdir(mode=0o700)
    code = """
        import os, sys
        from orchwatch.recording import losses
        from orchwatch import operation
        if os.geteuid() == 0:
            os.chown(os.environ["TMPDIR"], 54321, -1)
            os.setgroups([]); os.setgid(54321); os.setuid(54321)
        else:
            os.chmod(os.environ["ORCHWATCH_HOME"], 0o500)
        for _ in range(7):
            with operation("a"):
                pass
        losses.flush()
        print(losses.read())
    """
    path = tmp_path
    while path != path.parent and path.stat().st_uid == os.geteuid():
        path.chmod(0o755)
        path = path.parent
    home.chmod(0o700)
    out, err = start_python(code).communicate(timeout=240)
    assert (out, err) == ("{'spool_unwritable': 7}\n", "")


@pytest.fixture
def small_disk(home: Path) -> Iterator[bool]:
    """The home on a disk of 256 KiB where this user may mount one; tells whether it is."""
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(home)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield mounted
    spool._spools[OPERATIONS].close()
    if mounted:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_a_full_disk_costs_only_what_does_not_fit(
    small_disk: bool, home: Path, lines: Lines, lost: Lost
) -> None:
    """Where no disk can be mounted, the limit on a file's size stands for the disk's."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not small_disk:
        resource.setrlimit(resource.RLIMIT_FSIZE, (262_144, limits[1]))
    written: list[int] = []
    refused = 0
    try:
        losses.count("bad_name")  # the ledger is made while there is room for it
        while refused < 3:
            number = len(written)
            if spool.append(OPERATIONS, line(number, 5000)):
                assert refused == 0
                written.append(number)
            else:
                refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(written) > 40
    assert lost() == {"bad_name": 1, "disk_full": 3}
    assert (home / "losses").is_file()
    if small_disk:
        subprocess.run(["mount", "-o", "remount,size=1m", str(home)], check=True)
    while not spool.append(OPERATIONS, line(1000)):  # it is tried again once a second
        refused += 1
    for number in range(1001, 1005):
        assert spool.append(OPERATIONS, line(number))
    parsed, unreadable = lines(OPERATIONS)
    assert numbers(parsed) == [*written, *range(1000, 1005)]
    assert unreadable <= 1
    assert lost() == {"bad_name": 1, "disk_full": refused}


def test_a_short_write_leaves_one_unreadable_line(home: Path, lines: Lines, lost: Lost) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert spool.append(OPERATIONS, line(1))
    end = segments(home)[0].stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (end + 100, limits[1]))
    try:
        assert not spool.append(OPERATIONS, line(2, 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert segments(home)[0].stat().st_size == end + 100
    spool._spools[OPERATIONS]._retry_at = 0.0
    assert spool.append(OPERATIONS, line(3))
    parsed, unreadable = lines(OPERATIONS)
    assert (numbers(parsed), unreadable) == ([1, 3], 1)
    assert lost() == {"disk_full": 1}


def test_of_several_lines_only_those_that_do_not_fit_are_lost(
    home: Path, lines: Lines, lost: Lost
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert spool.append(OPERATIONS, line(1))
    size_bytes = segments(home)[0].stat().st_size + len(line(2)) + 5
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        assert not spool.append(OPERATIONS, line(2) + line(3) + line(4), 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    parsed, unreadable = lines(OPERATIONS)
    assert (numbers(parsed), unreadable) == ([1, 2], 1)
    assert lost() == {"disk_full": 2}


def test_a_segment_whose_header_does_not_fit_does_not_come_to_be(home: Path, lines: Lines) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        assert not spool.append(OPERATIONS, line(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((home / "spool").iterdir()) == []
    spool._spools[OPERATIONS]._retry_at = 0.0
    assert spool.append(OPERATIONS, line(2))
    assert_header(segments(home)[0])
    assert lines(OPERATIONS)[1] == 0


# Many writers.

WRITER = """
    import json
    from orchwatch.recording import spool
    name, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.stdin.readline()
    for number in range(count):
        line = json.dumps({"n": f"{name}.{number}", "filling": "x" * size})
        assert spool.append("operations", line.encode() + b"\\n")
"""


@pytest.mark.parametrize(("count", "segment_bytes"), [(2000, "20000"), (40, "1")])
def test_lines_of_many_processes_are_each_there_once_whatever_rotates(
    *,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_python: Start,
    release: Callable[[list[subprocess.Popen[str]]], None],
    lines: Lines,
    lost: Lost,
    count: int,
    segment_bytes: str,
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", segment_bytes)
    release([start_python(WRITER, name, count, name * 20) for name in range(8)])
    parsed, unreadable = lines(OPERATIONS)
    assert unreadable == 0
    assert Counter(numbers(parsed)) == {
        f"{name}.{number}": 1 for name in range(8) for number in range(count)
    }
    assert len({assert_header(path) for path in segments(home)}) == len(segments(home)) > 50
    assert {path.suffix for path in (home / "spool").iterdir()} == {".jsonl"}
    assert lost() == {}


def test_threads_share_the_segment(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "20000")

    def write(start: int) -> None:
        for number in range(start, start + 500):
            assert spool.append(OPERATIONS, line(number))

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(lines(OPERATIONS)[0])) == list(range(4000))


def test_only_the_highest_segment_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    for number in range(50):
        before = {path: path.stat().st_size for path in segments(home)}
        spool.append(OPERATIONS, line(number, 50))
        after = {path: path.stat().st_size for path in segments(home)}
        grown = [path for path in after if after[path] != before.get(path)]
        assert grown == [max(after)]


KILLED_WRITER = """
    import json, os
    from orchwatch.recording import spool
    name, size = sys.argv[1], int(sys.argv[2])
    number = 0
    while True:
        line = json.dumps({"n": f"{name}.{number}", "filling": name * size}).encode() + b"\\n"
        if spool.append("operations", line):
            os.write(1, b"%d\\n" % number)
        number += 1
"""


def test_kill_9_costs_at_most_the_line_that_was_being_written(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_python: Start,
    lines: Lines,
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "30000000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "10000000000")
    kills = 24
    acknowledged: list[str] = []

    def start(name: int) -> subprocess.Popen[str]:
        process = start_python(KILLED_WRITER, name, 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        acknowledged.append(f"{name}.0")
        return process

    def kill(name: int, process: subprocess.Popen[str]) -> list[str]:
        process.kill()
        assert process.stdout is not None
        return [f"{name}.{number}" for number in process.stdout.read().split()]

    writers = [(name, start(name)) for name in range(3)]
    for name in range(3, 3 + kills):
        writers.append((name, start(name)))
        victim, process = writers.pop(0)
        acknowledged += kill(victim, process)
    for name, process in writers:
        acknowledged += kill(name, process)
    kills += len(writers)
    assert spool.append(OPERATIONS, b'{"n": "last"}\n')
    parsed, unreadable = lines(OPERATIONS)
    found = Counter(numbers(parsed))
    assert unreadable <= kills
    assert max(found.values()) == 1
    assert {*acknowledged, "last"} <= set(found)
    assert len(set(found) - set(acknowledged)) <= kills + 1
    for path in segments(home):
        assert_header(path)


# Budget.


def fill(count: int) -> None:
    for number in range(count):
        assert spool.append(OPERATIONS, line(number, 100))


def test_over_budget_the_oldest_closed_segments_go_and_their_lines_are_counted(
    home: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines, lost: Lost
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "10000")
    fill(500)
    left = numbers(lines(OPERATIONS)[0])
    assert left == list(range(500 - len(left), 500))
    assert sum(path.stat().st_size for path in segments(home)) < 10_000 + 2 * 2000
    assert lost() == {"budget_dropped": 500 - len(left)}


def test_blank_lines_are_not_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch, lines: Lines, lost: Lost
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "1")
    for number in range(40):
        spool.append(OPERATIONS, b"\n" + line(number, 100))
    assert lost() == {"budget_dropped": 40 - len(numbers(lines(OPERATIONS)[0]))}


def test_a_segment_of_nothing_frees_nothing_and_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch, lost: Lost
) -> None:
    (home / "spool").mkdir(parents=True)
    empty = home / "spool" / "history-000001.jsonl"
    empty.touch()
    (home / "spool" / "history-000002.jsonl").touch()
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "1")
    fill(60)
    assert lost().keys() == {"budget_dropped"}
    assert empty.exists()


def test_all_families_share_the_budget_and_the_oldest_goes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1000")
    for family in (spool.HISTORY, spool.METRICS):
        for number in range(20):
            spool.append(family, line(number, 100))
    for age, path in enumerate([*segments(home, "history"), *segments(home, "metrics")]):
        os.utime(path, (1000 + age, 1000 + age))
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "6000")
    fill(20)
    assert len(segments(home, "history")) == 1  # its open one
    assert len(segments(home, "metrics")) > 1
    assert len(segments(home)) > 1


def test_a_segment_that_another_process_has_open_is_not_dropped(
    home: Path, monkeypatch: pytest.MonkeyPatch, start_python: Start
) -> None:
    other = start_python("""
        from orchwatch.recording import spool
        assert spool.append("operations", b'{"n": -1}\\n')
        print("open", flush=True)
        sys.stdin.readline()
    """)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "1")
    fill(100)
    kept = home / "spool" / "operations-000001.jsonl"
    assert b'{"n": -1}' in kept.read_bytes()
    assert len(segments(home)) == 2
    other.communicate("\n")
    fill(20)
    assert not kept.exists()
    assert len(segments(home)) == 1


def test_many_processes_that_drop_at_once_count_every_line(
    monkeypatch: pytest.MonkeyPatch,
    start_python: Start,
    release: Callable[[list[subprocess.Popen[str]]], None],
    lines: Lines,
    lost: Lost,
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1000")
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", "8000")
    release([start_python(WRITER, name, 500, 50) for name in range(8)])
    left = len(numbers(lines(OPERATIONS)[0]))
    assert lost() == {"budget_dropped": 8 * 500 - left}


# Forks and signals.


def test_a_forked_child_that_never_writes_keeps_no_segment_open(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(OPERATIONS, line(1))
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        theirs.send(b".")
        theirs.recv(1)
        os._exit(0)
    ours.recv(1)
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1")
    spool._spools[OPERATIONS].close()
    spool.append(OPERATIONS, line(2))
    with segments(home)[0].open("rb") as closed:
        fcntl.flock(closed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ours.send(b".")
    assert os.waitpid(child, 0)[1] == 0
    ours.close()
    theirs.close()


def test_a_fork_while_other_threads_write_leaves_the_child_able_to_write(
    run_python: Callable[..., str], lines: Lines
) -> None:
    run_python("""
        import os, threading
        from orchwatch.recording import losses, spool
        done = threading.Event()
        def write():
            number = 0
            while not done.is_set():
                assert spool.append("operations", b'{"parent": 1}\\n')
                losses.count("bad_name")
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(60):
            child = os.fork()
            if child == 0:
                assert spool.append("operations", b'{"n": %d}\\n' % number)
                losses.count("bad_attribute")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads:
            thread.join()
    """)
    parsed, unreadable = lines(OPERATIONS)
    assert (sorted(numbers(parsed)), unreadable) == (list(range(60)), 0)


def test_a_signal_handler_that_records_meanwhile_disturbs_nothing(
    run_python: Callable[..., str],
    lines: Lines,
) -> None:
    printed = run_python(
        """
        import signal
        from orchwatch.recording import spool
        handled = 0
        def handle(*_):
            global handled
            assert spool.append("operations", b'{"n": %d}\\n' % -handled)
            handled += 1
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        number = 0
        while handled < 500:
            number += 1
            assert spool.append("operations", b'{"n": %d}\\n' % number)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # before that: a handler would set it again
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(number, handled)
        """,
        ORCHWATCH_SPOOL_SEGMENT_BYTES="2000",
    )
    number, handled = map(int, printed.split())
    parsed, unreadable = lines(OPERATIONS)
    assert unreadable == 0
    assert Counter(numbers(parsed)) == dict.fromkeys(range(-handled + 1, number + 1), 1)


def test_a_stopped_writer_does_not_block_others(
    monkeypatch: pytest.MonkeyPatch, start_python: Start, lines: Lines
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    other = start_python(KILLED_WRITER, 1, 10)
    assert other.stdout is not None
    other.stdout.readline()
    other.send_signal(signal.SIGSTOP)
    fill(200)
    other.kill()
    mine = [number for number in numbers(lines(OPERATIONS)[0]) if isinstance(number, int)]
    assert mine == list(range(200))
