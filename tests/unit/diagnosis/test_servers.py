from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.servers import servers

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")

DEFAULTS = {"Collector": 13133, "Prometheus": 9090, "Tempo": 3200, "Alertmanager": 9093}


def addresses() -> dict[str, str]:
    return {server.title: server.url for server in servers()}


def test_a_server_is_looked_for_at_its_default_port_and_not_expected_there() -> None:
    assert addresses() == {name: f"http://127.0.0.1:{port}" for name, port in DEFAULTS.items()}
    assert not any(server.expected for server in servers())


def test_a_variable_says_which_port_or_which_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHWATCH_ALERTMANAGER_PORT", "1234")
    assert addresses()["Alertmanager"] == "http://127.0.0.1:1234"
    monkeypatch.setenv("ORCHWATCH_ALERTMANAGER_URL", "http://elsewhere:1/")
    assert addresses()["Alertmanager"] == "http://elsewhere:1"
    assert [server.title for server in servers() if server.expected] == ["Alertmanager"]


def test_the_ports_of_a_native_stack_that_runs_are_known(home: Path) -> None:
    ports = {"collector_health": 1, "prometheus": 2, "tempo_http": 3, "alertmanager": 4}
    with open("/proc/self/stat") as stat:
        started = stat.read().rpartition(")")[2].split()[19]
    with open("/proc/sys/kernel/random/boot_id") as boot:
        process = {"pid": os.getpid(), "started": f"{started}@{boot.read().strip()}"}
    (home / "stack").mkdir(parents=True)
    state = {"ports": ports, "processes": {"tempo": process}}
    (home / "stack" / "state.json").write_text(json.dumps(state))
    found = servers()
    assert [server.url for server in found] == [f"http://127.0.0.1:{n}" for n in (1, 2, 3, 4)]
    assert all(server.expected and server.log for server in found)
