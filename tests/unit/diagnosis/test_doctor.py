from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.doctor import examine
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.recording import losses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.diagnosis.check import Check


@pytest.fixture(autouse=True)
def quiet(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No configuration, no server, and no losses of anybody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    for name in ("COLLECTOR_HEALTH", "PROMETHEUS", "TEMPO_HTTP", "ALERTMANAGER"):
        monkeypatch.setenv(f"ORCHWATCH_{name}_PORT", port)
    urls = ("COLLECTOR_HEALTH_URL", "PROMETHEUS_URL", "TEMPO_URL", "ALERTMANAGER_URL")
    for name in (*urls, "CONFIG", "INSTRUMENT"):
        monkeypatch.delenv(f"ORCHWATCH_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.chdir(tmp_path)
    return home


def checks() -> dict[str, Check]:
    return {check.name: check for check in examine()}


def test_a_home_in_use_without_servers_has_no_failure(record: Record) -> None:
    record()
    found = checks()
    assert "fail" not in {check.state for check in found.values()}
    assert {name for name, check in found.items() if check.state == "unknown"} == {
        "Collector",
        "Prometheus",
        "Tempo",
        "Alertmanager",
    }


def test_a_home_that_is_still_to_be_made_is_no_failure() -> None:
    found = checks()
    assert found["home"].state == "unknown"
    assert "fail" not in {check.state for check in found.values()}


def test_everything_that_is_not_ok_has_a_remedy(home: Path, record: Record) -> None:
    record()
    home.chmod(0o755)
    losses.count("bad_baggage")
    losses.flush()
    for check in examine():
        assert bool(check.remedy) == (check.state != "ok"), check


def test_a_home_that_is_no_directory_fails(home: Path) -> None:
    home.touch()
    assert checks()["home"].state == "fail"


def test_a_home_that_cannot_be_made_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "file" / "home"))
    assert checks()["home"].state == "fail"


@pytest.mark.parametrize("name", ["home", "home/spool"])
def test_a_directory_that_others_may_enter_fails(tmp_path: Path, record: Record, name: str) -> None:
    record()
    (tmp_path / name).chmod(0o750)
    check = checks()["home rights"]
    assert check.state == "fail"
    assert check.remedy == f"chmod 700 {tmp_path / name}"


def test_a_segment_that_others_may_read_is_a_warning(home: Path, record: Record) -> None:
    record()
    (home / "spool" / "operations-000001.jsonl").chmod(0o644)
    check = checks()["home rights"]
    assert (check.state, check.remedy) == ("warn", f"chmod 600 {home}/spool/*.jsonl")


def test_a_home_of_another_user_fails(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    if os.geteuid() == 0:
        os.chown(home, 12345, -1)
    else:  # only root can give a directory away, but has some of its own
        monkeypatch.setenv("ORCHWATCH_HOME", "/usr")
    check = checks()["home rights"]
    assert check.state == "fail"
    assert f"belongs to user {os.stat(os.environ['ORCHWATCH_HOME']).st_uid}" in check.found


def test_a_home_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # The one directory in which not even root can make a file.
    monkeypatch.setenv("ORCHWATCH_HOME", "/proc/self")
    check = checks()["home is writable"]
    assert check.state == "fail"
    assert os.strerror(errno.ENOENT) in check.found


def test_a_budget_that_the_disk_cannot_hold_is_a_warning(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", str(10**17))
    assert checks()["disk"].state == "warn"


def test_each_reason_of_a_loss_is_explained() -> None:
    losses.count("budget_dropped", 3)
    losses.count("of_a_later_version")
    losses.flush()
    found = checks()
    meaning, remedy = losses.REASONS["budget_dropped"]
    assert found["lost: budget_dropped"].found == f"3 {meaning}"
    assert found["lost: budget_dropped"].remedy == remedy
    assert found["lost: of_a_later_version"].state == "warn"
    assert "losses" not in found


def test_a_broken_configuration_fails_with_file_key_and_rule(tmp_path: Path) -> None:
    file = tmp_path / "orchwatch.toml"
    file.write_text('[operations."state.query"]\ntarget_s = -1\n')
    check = checks()["configuration"]
    assert check.state == "fail"
    assert (
        check.found == 'orchwatch.toml: operations."state.query".target_s: must be above 0, not -1'
    )


def test_a_misspelt_callable_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHWATCH_INSTRUMENT", "app.query")
    check = checks()["configuration"]
    assert check.state == "fail"
    assert check.found.startswith("ORCHWATCH_INSTRUMENT: app.query: must be spelt")


def test_a_configuration_in_order_says_what_it_changes(tmp_path: Path) -> None:
    (tmp_path / "orchwatch.toml").write_text(
        '[operations."my.operation"]\ntarget_s = 1\n[instrument]\n"a:b" = "my.operation"\n'
    )
    check = checks()["configuration"]
    assert check.state == "ok"
    assert check.found.startswith("orchwatch.toml changes 1 row; 11 operations")
    assert check.found.endswith("callables that are watched: 1")


@pytest.mark.parametrize(
    ("row", "meant"),
    [
        ('operations."state.qurey"', "state.query"),
        ('operations."agent.spwan"', "agent.spawn"),
        ('operations."my.operation"', None),
        ('operations."state.query"', None),
    ],
)
def test_a_row_that_looks_misspelt_is_a_warning(
    tmp_path: Path, row: str, meant: str | None
) -> None:
    (tmp_path / "orchwatch.toml").write_text(f"[{row}]\ntarget_s = 1\n")
    found = [check for check in examine() if check.name == "configuration"]
    assert found[0].state == "ok"
    name = row.split('"')[1]
    assert [(check.state, check.found) for check in found[1:]] == [
        ("warn", f"orchwatch.toml adds {name}; did you mean {name_meant}?")
        for name_meant in [meant]
        if name_meant
    ]


def test_looking_needs_neither_the_sdk_nor_the_reading_sides_packages() -> None:
    looked = subprocess.run(
        [
            sys.executable,
            "-c",
            "from orchwatch.diagnosis import doctor; import sys; doctor.examine(); print(*sys.modules)",  # noqa: E501
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    imported = {name.partition(".")[0] for name in looked.stdout.split()}
    assert not imported & {"opentelemetry", "duckdb", "psutil"}


def test_a_monitor_process_that_follows_this_home_is_seen() -> None:
    assert "monitor" not in checks()
    checkpoint = Checkpoint()
    assert checks()["monitor"].state == "ok"
    checkpoint.close()
    assert "monitor" not in checks()
