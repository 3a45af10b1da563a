from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.monitor import heartbeat
from orchwatch.monitor.endpoint import Endpoint
from orchwatch.monitor.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def beating(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:  # noqa: ARG001 - it clears the environment
    found = Heartbeat()
    endpoint = Endpoint(host="127.0.0.1", port=0, routes={heartbeat.PATH: found.route()})
    endpoint.start()
    monkeypatch.setenv(registration.PORT_VARIABLE, str(endpoint.port))
    yield found
    endpoint.close()


def test_a_process_that_goes_round_is_well(beating: Heartbeat) -> None:
    beating.beat()
    is_well, said = heartbeat.ask()
    assert is_well
    assert said.endswith(": it follows")


def test_a_process_that_has_not_gone_round_yet_says_so(beating: Heartbeat) -> None:  # noqa: ARG001 - it is asked
    is_well, said = heartbeat.ask()
    assert not is_well
    assert said.endswith(": it is starting")


def test_a_process_that_is_stuck_is_not_well(
    beating: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    beating.beat()
    monkeypatch.setattr(heartbeat, "_STUCK_S", -1.0)
    is_well, said = heartbeat.ask()
    assert not is_well
    assert said.endswith(": no round for 0 s")


@pytest.mark.usefixtures("home")
def test_no_server_and_a_foreign_one_are_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv(registration.PORT_VARIABLE, str(port))
    assert heartbeat.ask() == (
        False,
        f"no monitor answers at 127.0.0.1:{port}: Connection refused",
    )
    foreign = Endpoint(host="127.0.0.1", port=0, routes={})
    foreign.start()
    monkeypatch.setenv(registration.PORT_VARIABLE, str(foreign.port))
    assert heartbeat.ask() == (False, f"monitor at 127.0.0.1:{foreign.port}: 404")
    foreign.close()
