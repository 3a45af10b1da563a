from __future__ import annotations

import os
import resource
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., subprocess.Popen[str]]
    Release = Callable[[list[subprocess.Popen[str]]], None]
    Run = Callable[..., str]
    Lost = Callable[[], dict[str, int]]

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def fallback(home: Path) -> Path:  # noqa: ARG001 - sets the variable
    return Path(os.environ["TMPDIR"]) / f"orchwatch-{os.geteuid()}"


def test_nothing_lost_is_an_empty_answer(home: Path, lost: Lost) -> None:
    assert lost() == {}
    assert not home.exists()


def test_every_reason_has_a_meaning_and_a_remedy() -> None:
    assert all(meaning and remedy for meaning, remedy in losses.REASONS.values())
    assert all(len(reason) <= 40 for reason in losses.REASONS)


def test_the_first_loss_is_written_at_once(home: Path) -> None:
    losses.count("bad_name")
    assert losses.read() == {"bad_name": 1}
    assert (home / "losses").is_file()


def test_counts_add_up_over_flushes(lost: Lost) -> None:
    for number in range(1, 5):
        losses.count("bad_name", number)
        losses.count("disk_full")
        losses.flush()
    assert lost() == {"bad_name": 10, "disk_full": 4}


def test_the_ledger_is_fixed_width_text_that_never_grows(home: Path, lost: Lost) -> None:
    losses.count("bad_name")
    size = (home / "losses").stat().st_size
    for reason in losses.REASONS:
        losses.count(reason, 10**15)
    lost()
    text = (home / "losses").read_text()
    assert len(text) == size
    assert {len(line) for line in text.splitlines()} == {61}


COUNTER = """
    from orchwatch.recording import losses
    sys.stdin.readline()
    for _ in range(5000):
        losses.count("bad_name")
        losses.count("disk_full", 3)
"""


def test_many_processes_count_exactly(start_python: Start, release: Release, lost: Lost) -> None:
    release([start_python(COUNTER) for _ in range(8)])
    assert lost() == {"bad_name": 8 * 5000, "disk_full": 8 * 15_000}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_child_of_multiprocessing_lost_is_counted(
    tmp_path: Path, run_python: Run, lost: Lost, method: str
) -> None:
    (tmp_path / "job.py").write_text(
        "from orchwatch.recording import losses\n"
        "def work():\n"
        "    for _ in range(100):\n"
        "        losses.count('bad_name')\n"
    )
    run_python(
        f"""
        import multiprocessing
        sys.path.insert(0, {str(tmp_path)!r})
        import job
        job.work()
        # The server's socket lies in the temporary directory, and its path must be short.
        import tempfile
        tempfile.tempdir = "/tmp"
        context = multiprocessing.get_context({method!r})
        children = [context.Process(target=job.work) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        """
    )
    assert lost() == {"bad_name": 400}


def test_threads_count_exactly(lost: Lost) -> None:
    def work() -> None:
        for _ in range(20_000):
            losses.count("bad_name")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost() == {"bad_name": 160_000}


def test_a_forked_child_does_not_repeat_what_its_parent_has_pending(lost: Lost) -> None:
    losses.count("bad_name")
    losses.count("bad_name")  # waits for the next flush
    child = os.fork()
    if child == 0:
        losses.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert lost() == {"bad_name": 2}


def test_a_signal_handler_may_count_while_its_thread_is_counting(run_python: Run) -> None:
    printed = run_python("""
        import signal
        from orchwatch.recording import losses
        handled = 0
        def handle(*_):
            global handled
            losses.count("disk_full")
            handled += 1
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        counted = 0
        while handled < 300:
            losses.count("bad_name")
            losses._next_flush = 0.0
            counted += 1
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # before that: a handler would set it again
        signal.setitimer(signal.ITIMER_REAL, 0)
        losses.flush()
        print(losses.read() == {"bad_name": counted, "disk_full": handled})
    """)
    assert printed == "True\n"


# Where a home cannot be written.


def test_a_home_that_is_a_file_is_counted_elsewhere(home: Path, fallback: Path, lost: Lost) -> None:
    home.write_text("in the way")
    losses.count("spool_unwritable", 3)
    assert lost() == {"spool_unwritable": 3}
    assert fallback.stat().st_mode & 0o777 == 0o700
    (ledger,) = fallback.iterdir()
    assert ledger.stat().st_mode & 0o777 == 0o600


def test_ledgers_of_several_homes_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Lost
) -> None:
    for number, name in enumerate(("a", "b", "ä" * 120), start=1):
        (tmp_path / name).write_text("in the way")
        monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / name))
        losses.count("spool_unwritable", number)
        assert lost() == {"spool_unwritable": number}


def test_the_runtime_directory_comes_before_the_temporary_one(
    home: Path, tmp_path: Path, fallback: Path, monkeypatch: pytest.MonkeyPatch, lost: Lost
) -> None:
    home.write_text("in the way")
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    losses.count("spool_unwritable")
    assert lost() == {"spool_unwritable": 1}
    assert len(list((runtime / "orchwatch").iterdir())) == 1
    assert not fallback.exists()


def test_both_ledgers_add_up_when_a_home_becomes_writable(home: Path, lost: Lost) -> None:
    home.write_text("in the way")
    losses.count("spool_unwritable")
    losses.flush()
    home.unlink()
    losses.count("bad_name")
    assert lost() == {"spool_unwritable": 1, "bad_name": 1}


@pytest.mark.parametrize("trap", ["link", "open to others", "file", "fifo inside"])
def test_a_fallback_that_another_user_may_have_placed_is_refused(
    home: Path, tmp_path: Path, fallback: Path, lost: Lost, trap: str
) -> None:
    home.write_text("in the way")
    other = tmp_path / "victim"
    other.mkdir()
    if trap == "link":
        fallback.symlink_to(other)
    elif trap == "file":
        fallback.write_text("")
    else:
        fallback.mkdir()
        fallback.chmod(0o777)
        if trap == "fifo inside":
            os.mkfifo(fallback / ("losses" + str(home)[-150:].replace("/", "%")))
    before = set(fallback.iterdir()) if fallback.is_dir() else set()
    losses.count("spool_unwritable")
    assert lost() == {}
    assert list(other.iterdir()) == []
    if fallback.is_dir():
        assert set(fallback.iterdir()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_fallback_of_another_user_is_neither_written_nor_read(
    home: Path, fallback: Path, lost: Lost
) -> None:
    home.write_text("in the way")
    fallback.mkdir(mode=0o700)
    ledger = fallback / ("losses" + str(home)[-150:].replace("/", "%"))
    ledger.write_text(f"{'disk_full':<40} {99:>20}\n")
    os.chown(fallback, 54321, 54321)
    losses.count("spool_unwritable")
    assert lost() == {}
    assert "spool_unwritable" not in ledger.read_text()


def test_a_ledger_that_is_a_link_is_not_followed(home: Path, tmp_path: Path, lost: Lost) -> None:
    home.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (home / "losses").symlink_to(victim)
    losses.count("bad_name")
    assert lost() == {"bad_name": 1}
    assert victim.read_text() == "precious"


# A full disk, and a broken ledger.


def test_a_ledger_that_exists_counts_on_when_nothing_can_grow(home: Path, lost: Lost) -> None:
    losses.count("bad_name")
    size = (home / "losses").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        losses.count("disk_full", 7)
        assert lost() == {"bad_name": 1, "disk_full": 7}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_ledger_that_cannot_be_made_is_made_later_with_every_count(lost: Lost) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        losses.count("disk_full", 7)
        losses.flush()
        assert losses.read() == {}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lost() == {"disk_full": 7}


def test_a_new_disk_that_is_full_from_the_start_is_counted_elsewhere(
    home: Path, lost: Lost
) -> None:
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(home)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        home.rmdir()
        home.symlink_to("/proc/self")  # where nothing can be made either
        losses.count("disk_full", 2)
        assert lost() == {"disk_full": 2}
        return
    try:
        (home / "filling").write_bytes(b"x" * 4096)
        losses.count("disk_full", 2)
        assert lost() == {"disk_full": 2}
        (home / "filling").unlink()
        losses.count("disk_full")
        assert lost() == {"disk_full": 3}
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


@pytest.mark.parametrize("content", [b"", b"\x00" * 700, b"\xff\xfe garbage\n", b"bad_name x\n"])
def test_a_broken_ledger_starts_anew(home: Path, lost: Lost, content: bytes) -> None:
    home.mkdir()
    (home / "losses").write_bytes(content)
    losses.count("bad_name", 2)
    assert lost() == {"bad_name": 2}


def test_a_ledger_of_an_older_version_keeps_its_counts(home: Path, lost: Lost) -> None:
    home.mkdir()
    (home / "losses").write_text(f"{'bad_name':<40} {5:>20}\n{'gone_reason':<40} {2:>20}\n")
    losses.count("bad_name")
    assert lost() == {"bad_name": 6, "gone_reason": 2}


def test_a_killed_process_leaves_the_ledger_free(start_python: Start, lost: Lost) -> None:
    process = start_python("""
        from orchwatch.recording import losses
        losses.count("bad_name")
        print("counted", flush=True)
        while True:
            losses._next_flush = 0.0
            losses.count("disk_full", 0)
    """)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    losses.count("bad_name")
    assert lost()["bad_name"] == 2
