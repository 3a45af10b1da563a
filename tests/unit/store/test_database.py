from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import pytest

from orchwatch.diagnosis import spool_health
from orchwatch.recording import spool
from orchwatch.store import spans
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

SEGMENT_BYTES = 4000
COUNT = (
    "import sys; from pathlib import Path; from orchwatch.store import spans;"
    "from orchwatch.store.database import Store;"
    "print(spans.totals(Store(Path(sys.argv[1]))).get('operations', 0))"
)


def count(home: Path) -> int:
    with Store(home) as store:
        return spans.totals(store).get("operations", 0)


def compacted(home: Path) -> list[Path]:
    return sorted((home / "store").glob("*.parquet"))


@pytest.fixture
def small_segments(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", str(SEGMENT_BYTES))


def test_a_home_that_does_not_exist_holds_nothing_and_is_not_made(home: Path) -> None:
    assert count(home) == 0
    assert not home.exists()


def test_an_empty_spool_and_an_empty_segment_hold_nothing(home: Path) -> None:
    (home / "spool").mkdir(parents=True)
    assert count(home) == 0
    (home / "spool" / "operations-000001.jsonl").touch()
    (home / "spool" / "operations-000002.jsonl").touch()
    assert count(home) == 0


def test_an_operation_is_seen_as_soon_as_it_is_written(home: Path, record: Record) -> None:
    with Store(home) as store:
        for number in range(1, 4):
            record()
            store.refresh()
            assert spans.totals(store) == {"operations": number}


@pytest.mark.usefixtures("small_segments")
def test_closed_segments_are_compacted_and_nothing_is_lost_or_doubled(
    home: Path, record: Record
) -> None:
    for _ in range(50):
        record()
    segments = sorted((home / "spool").glob("operations-*"))
    assert count(home) == 50
    assert len(compacted(home)) == len(segments) - 1
    assert count(home) == 50
    assert not list((home / "store").glob("*.tmp"))


@pytest.mark.usefixtures("small_segments")
def test_what_was_compacted_outlives_the_segment(home: Path, record: Record) -> None:
    for _ in range(50):
        record()
    count(home)
    for segment in sorted((home / "spool").glob("operations-*"))[:-1]:
        segment.unlink()
    assert count(home) == 50


@pytest.mark.usefixtures("small_segments")
def test_a_reader_killed_at_any_moment_loses_and_doubles_nothing(
    home: Path, record: Record
) -> None:
    for _ in range(150):
        record()
    segments = len(list((home / "spool").glob("operations-*")))
    kills = 0
    while len(compacted(home)) < segments - 1:
        enough = len(compacted(home)) + 5
        reader = subprocess.Popen([sys.executable, "-c", COUNT, str(home)], stdout=subprocess.PIPE)
        while len(compacted(home)) < enough and reader.poll() is None:
            pass
        reader.kill()
        kills += reader.wait() == -signal.SIGKILL
        reader.communicate()
    assert kills > 1
    assert count(home) == 150
    assert len(compacted(home)) == segments - 1
    assert not list((home / "store").glob("*.tmp"))


@pytest.mark.usefixtures("small_segments")
def test_readers_that_compact_at_once_all_see_everything_once(home: Path, record: Record) -> None:
    for _ in range(300):
        record()
    segments = len(list((home / "spool").glob("operations-*")))
    readers = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(home)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [int(reader.communicate()[0]) for reader in readers] == [300] * 4
    assert len(compacted(home)) == segments - 1
    assert count(home) == 300


@pytest.mark.usefixtures("small_segments")
def test_operations_written_while_reading_are_neither_lost_nor_doubled(
    home: Path, record: Record
) -> None:
    with Store(home) as store:
        for number in range(1, 200):
            record()
            if number % 7 == 0:
                store.refresh()
                assert spans.totals(store) == {"operations": number}


@pytest.mark.usefixtures("small_segments")
def test_a_late_line_in_a_compacted_segment_is_counted_once(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    with Store(home) as reader_before:
        first = min((home / "spool").glob("operations-*"))
        with first.open("ab") as segment:
            segment.write(record())
        # The line is in its own segment and in the first one: two spans to the totals.
        assert count(home) == 22
        assert count(home) == 22
        names = [file.name.split(".")[0] for file in compacted(home)]
        assert len(names) == len(set(names))
        # A reader that had the replaced file open goes on with the new one.
        assert spans.totals(reader_before)["operations"] >= 20


@pytest.mark.usefixtures("small_segments")
def test_a_copy_of_a_segment_is_not_counted_again(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    first = min((home / "spool").glob("operations-*"))
    first.with_name("operations-000000.jsonl").write_bytes(first.read_bytes())
    assert count(home) == 20
    assert count(home) == 20


@pytest.mark.usefixtures("small_segments")
def test_a_segment_without_a_readable_header_is_identified_by_its_content(
    home: Path, record: Record
) -> None:
    for _ in range(20):
        record()
    first = min((home / "spool").glob("operations-*"))
    header, newline, rest = first.read_bytes().partition(b"\n")
    first.write_bytes(header[:20] + newline + rest)
    assert count(home) == 20
    assert count(home) == 20
    first.unlink()
    assert count(home) == 20


@pytest.mark.usefixtures("small_segments")
def test_a_file_that_a_power_cut_left_empty_is_made_again(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    count(home)
    broken = compacted(home)[0]
    broken.write_bytes(b"")
    assert count(home) == 20
    assert broken.stat().st_size > 0


@pytest.mark.usefixtures("small_segments")
def test_a_store_that_cannot_be_written_can_still_be_read(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    (home / "store").touch()
    assert count(home) == 20


@pytest.mark.usefixtures("small_segments")
def test_a_damaged_file_of_the_store_is_set_aside_and_made_again(
    home: Path, record: Record
) -> None:
    for _ in range(20):
        record()
    count(home)
    whole = compacted(home)[0].read_bytes()
    holed = whole[:20] + b"\xff" * (len(whole) // 3) + whole[20 + len(whole) // 3 :]
    for damaged in (b"PAR1 nothing of the kind PAR1", holed):
        compacted(home)[0].write_bytes(damaged)
        with Store(home) as store:
            assert len(store.query("SELECT * FROM operations")) == 20
        (aside,) = (home / "store").glob("*.damaged")
        aside.unlink()
        assert count(home) == 20


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize(
    "columns",
    [
        "* EXCLUDE (duration_ns)",
        "* REPLACE ('soon' AS end_ns)",
        "* REPLACE ([trace_id] AS trace_id)",
        "42 AS answer",
    ],
)
def test_a_file_of_other_columns_is_named_set_aside_and_made_again(
    columns: str, home: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(12):
        record()
    assert count(home) == 12
    file = compacted(home)[0]
    other = file.with_name("other")
    duckdb.execute(f"COPY (SELECT {columns} FROM '{file}') TO '{other}' (FORMAT parquet)")
    other.replace(file)
    with Store(home) as store:
        found = store.query("SELECT count(*), min(duration_ns) FROM counted")
    assert found == [(12, 1_000_000)]
    (aside,) = (home / "store").glob("*.damaged")
    assert aside.name == f"{file.name}.damaged"
    assert file.exists()
    for segment in (home / "spool").glob(f"{file.name.split('.')[0]}.jsonl"):
        segment.unlink()
    file.unlink()
    assert count(home) < 12
    assert str(aside) in caplog.text


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("content", [b"PAR1 nothing of the kind PAR1", b"", b"PAR1 torn"])
def test_a_damaged_file_without_its_segment_is_named_and_the_rest_answers(
    content: bytes, home: Path, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        record()
    assert count(home) == 20
    file = compacted(home)[0]
    file.write_bytes(content)
    (home / "spool" / f"{file.name.partition('.')[0]}.jsonl").unlink()
    caplog.clear()
    for _ in range(2):
        assert 0 < count(home) < 20
        assert f"{file}" in caplog.text
        assert "damaged and left out" in caplog.text
        caplog.clear()
    (check,) = spool_health.check_store()
    assert check.state == "warn"
    assert file.name in check.found


@pytest.mark.usefixtures("small_segments")
def test_a_directory_named_like_a_file_of_the_store_is_no_file(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    count(home)
    file = compacted(home)[0]
    file.unlink()
    file.mkdir()
    file.with_suffix(".tmp").mkdir()
    assert count(home) == 20


def test_an_interrupt_during_a_query_is_an_interrupt(home: Path) -> None:
    with Store(home) as store:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            store.query("SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a < b")
        timer.join()


@pytest.mark.usefixtures("small_segments")
def test_a_segment_with_a_writer_is_not_compacted(home: Path, record: Record) -> None:
    record()
    first = home / "spool" / "operations-000001.jsonl"
    with first.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        for _ in range(20):
            record()
        assert count(home) == 21
        assert not any("000001" in file.name for file in compacted(home))
    assert count(home) == 21
    assert any("000001" in file.name for file in compacted(home))


@pytest.mark.usefixtures("small_segments")
def test_an_open_reader_holds_no_lock_on_any_segment(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    spool._spools["operations"].close()
    with Store(home):
        for path in (home / "spool").iterdir():
            with path.open("rb") as segment:
                fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.usefixtures("small_segments")
def test_the_store_is_readable_by_its_owner_only(home: Path, record: Record) -> None:
    for _ in range(20):
        record()
    count(home)
    assert (home / "store").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (home / "store").iterdir()} == {0o600}


@pytest.mark.usefixtures("small_segments")
def test_paths_with_wildcards_and_quotes_are_only_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    home = tmp_path / "a[1]*? 'x"
    monkeypatch.setenv("ORCHWATCH_HOME", str(home))
    for _ in range(20):
        record()
    assert count(home) == 20
    assert count(home) == 20


@pytest.mark.usefixtures("small_segments")
def test_nothing_is_left_in_the_current_directory(
    home: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        record()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    count(home)
    assert os.listdir(elsewhere) == []


def test_a_compacted_operation_takes_at_most_60_bytes(home: Path, record: Record) -> None:
    randomness = random.Random(1)
    agents = ("planner", "builder", "reviewer", "tester")
    written = 0
    while not (home / "spool" / "operations-000002.jsonl").exists():
        record(
            randomness.choice(("state.query", "event.process", "message.deliver")),
            duration_ns=int(randomness.lognormvariate(16, 1.2)),
            end_ns=1_795_000_000_000_000_000 + written * 80_000_000 + randomness.randrange(10**8),
            parent_span_id=randomness.choice(("", os.urandom(8).hex())),
            failed=randomness.random() < 0.01,
            attributes={
                "session.id": f"session-{randomness.randrange(50)}",
                "gen_ai.agent.name": randomness.choice(agents),
                "gen_ai.tool.name": randomness.choice(("Bash", "Read", "Edit")),
            },
        )
        written += 1
    assert count(home) == written
    (file,) = compacted(home)
    assert file.stat().st_size / (written - 1) <= 60


def test_an_open_segment_is_compacted_as_it_grows_and_read_once(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchwatch.store.database._PIECE_BYTES", 2000)
    for number in range(1, 40):
        record()
        assert count(home) == number
        assert len(compacted(home)) <= 1
    assert compacted(home)
    with Store(home) as store:
        assert store.query("SELECT count(*) FROM spool")[0][0] < 10
        record()
        store.refresh()
        assert spans.totals(store)["operations"] == 40


def test_files_of_the_first_version_are_written_anew_or_read_as_they_are(
    home: Path, record: Record, small_segments: None
) -> None:
    assert small_segments is None
    for number in range(12):
        record("agent.task", attributes={"gen_ai.agent.id": f"a{number % 3}"})
    assert count(home) == 12
    for file in compacted(home):
        old = file.with_name(re.sub(r"\.v3p?\.", ".", file.name))
        duckdb.execute(
            f"COPY (SELECT * EXCLUDE (agent_id, covered_ns) FROM '{file}') TO '{old}'"
            " (FORMAT parquet)"
        )
        file.unlink()
    for segment in (home / "spool").glob("*.jsonl"):
        segment.unlink()
    held = sum(1 for _ in compacted(home))
    assert held
    lock = os.open(home / "store" / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with Store(home) as store:
        by_itself = store.query("SELECT agent_id, count(*) FROM counted GROUP BY ALL ORDER BY 1")
    assert all(".v3" not in file.name for file in compacted(home))
    os.close(lock)
    with Store(home) as store:
        assert (
            store.query("SELECT agent_id, count(*) FROM counted GROUP BY ALL ORDER BY 1")
            == by_itself
        )
    assert all(".v3" in file.name for file in compacted(home))
    assert [agent for agent, _ in by_itself] == ["a0", "a1", "a2"]


def test_a_long_compaction_says_so_once(
    home: Path, record: Record, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_segments is None
    monkeypatch.setattr("orchwatch.store.database._LONG_BYTES", 1)
    for _ in range(12):
        record()
    said: list[str] = []
    for _ in range(2):
        Store(home, said.append).close()
    assert len(said) == 1
    assert said[0].startswith("compacting ")
