"""One file of each wrong type in each place where a file is opened."""

from __future__ import annotations

import http
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from native import Ports
from orchwatch.agents.claude_code.settings import registration
from orchwatch.monitor import heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.hostile.conftest import Place

_WITHIN_S = 120


def _socket(path: Path) -> None:
    # A socket's address is short, and a test's directory is not.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 << 30)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "directory": Path.mkdir,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "5 GB of holes": _sparse,
    "noise": lambda path: path.write_bytes(os.urandom(100_000)),
    "nested": lambda path: path.write_bytes(b'{"a":[' * 100_000),
    "nothing": Path.touch,
}
_SESSION = "claude/projects/-p/0f8fad5b-d9cb-469f-a165-70867728950e"
_LOOK = (["current"], ["trace"], ["events"], ["sessions", "--format", "json"], ["run", "true"])
_KPIS = (["kpi", "list"], ["kpi", "set", "test.coverage", "0.5"])
_TABLE = (["current"], ["run", "true"], ["generate", "--check", "--output", "out"])
_SETTINGS = (["claude", "install", "--hooks", "command"], ["claude", "uninstall"])
_IMPORT = (["claude", "import"], ["claude", "import", "--since", "7d", "--format", "json"])
PLACES = {
    "home": (*_LOOK, ["status-line"], ["kpi", "list"]),
    "home/losses": (["current"], ["run", "true"]),
    "home/snapshot.json": (["status-line"], ["status-line", "--format", "json"]),
    "home/kpis.json": _KPIS,
    "home/stack/state.json": (["doctor"],),
    "home/monitor/lock": (["doctor"],),
    "home/spool": _LOOK,
    "home/spool/operations-000001.jsonl": _LOOK,
    "home/spool/operations-000002.jsonl": _LOOK,
    "home/spool/history-000001.jsonl": (*_LOOK, *_IMPORT),
    "home/spool/events-000001.jsonl": (["events"], ["events", "--format", "json"]),
    "home/spool/metrics-000001.jsonl": (["current"], ["run", "true"]),
    "home/spool/.metrics.lock": (["current"], ["run", "true"]),
    "home/store": _LOOK,
    "home/store/lock": _LOOK,
    f"home/store/operations-000001.{'0a' * 16}.100.0.v2.parquet": _LOOK,
    "home/claude-import.lock": _IMPORT,
    "home/claude-import.sqlite": _IMPORT,
    "home/claude": _SETTINGS,
    "project/orchwatch.toml": _TABLE,
    "project/coverage.xml": _KPIS,
    "project/coverage.json": _KPIS,
    "project/.claude/state/orchestration.json": _KPIS,
    "project/out": (["generate", "--check", "--output", "out"], ["generate", "--output", "out"]),
    "config/orchwatch/orchwatch.toml": _TABLE,
    "claude/settings.json": _SETTINGS,
    f"{_SESSION}.jsonl": _IMPORT,
    f"{_SESSION}/subagents/agent-a1.jsonl": _IMPORT,
    f"{_SESSION}/subagents/agent-a1.meta.json": _IMPORT,
}


@pytest.mark.parametrize("where", PLACES)
def test_no_command_and_no_host_hangs_or_fills_the_memory(
    where: str, places: Callable[[], Place]
) -> None:
    for put in KINDS.values():
        place = places()
        path = place.root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path)
        place.ask(*PLACES[where])


@pytest.mark.parametrize(
    "where",
    [
        "monitor/lock",
        "monitor/checkpoint.json",
        "spool/hooks-000001.jsonl",
        "spool/operations-000001.jsonl",
        "snapshot.json",
    ],
)
def test_the_monitor_follows_or_says_why_not(where: str, places: Callable[[], Place]) -> None:
    for kind in ("pipe", "directory", "device", "5 GB of holes", "noise"):
        place = places()
        path = place.home / where
        path.parent.mkdir(parents=True)
        KINDS[kind](path)
        code, said = _monitored(place)
        assert code == 0 or said.startswith("orchwatch: "), (kind, said)
        assert "Traceback" not in said, (kind, said)
        assert "a bug in" not in said, (kind, said)
        assert code in (0, 1), (kind, said)


def _monitored(place: Place) -> tuple[int, str]:
    """The exit code and the last line of a monitor that is ended once it follows."""
    port = Ports.free().monitor
    process = subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", "monitor"],
        cwd=place.project,
        env=place.environment() | {registration.PORT_VARIABLE: str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + _WITHIN_S
        while process.poll() is None and not _follows(port):
            assert time.monotonic() < deadline, "it hangs"
            time.sleep(0.1)
        process.terminate()
        said = process.communicate(timeout=_WITHIN_S)[1]
    finally:
        process.kill()
        process.communicate()
    return process.returncode, said if process.returncode else ""


def _follows(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", heartbeat.PATH)
        with connection.getresponse() as answer:
            return answer.status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
