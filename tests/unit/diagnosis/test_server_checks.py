from __future__ import annotations

import json
import os
import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis import server_checks
from orchwatch.diagnosis.server_checks import check_servers
from orchwatch.diagnosis.spool_health import NewestOperation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.diagnosis.check import Check

VARIABLES = (
    "ORCHWATCH_COLLECTOR_HEALTH_URL",
    "ORCHWATCH_PROMETHEUS_URL",
    "ORCHWATCH_TEMPO_URL",
    "ORCHWATCH_ALERTMANAGER_URL",
)
PORTS = (
    "ORCHWATCH_COLLECTOR_HEALTH_PORT",
    "ORCHWATCH_PROMETHEUS_PORT",
    "ORCHWATCH_TEMPO_HTTP_PORT",
    "ORCHWATCH_ALERTMANAGER_PORT",
)
NAMES = ("Collector", "Prometheus", "Tempo", "Alertmanager")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Fake(ThreadingHTTPServer):
    """All servers in one: answers by path, everything it was not told with 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers: dict[str, tuple[int, object]] = {
            "/": (200, {"status": "Server available"}),
            "/-/ready": (200, {}),
            "/api/search": (200, {"traces": []}),
            "/api/v1/status/buildinfo": (200, {"data": {"version": "3.14.0"}}),
            "/api/status/buildinfo": (200, {"version": "2.8.4"}),
            "/api/v2/status": (200, {"versionInfo": {"version": "0.28.1"}}),
            "/api/v2/alerts": (200, [{"labels": {"alertname": "Watchdog"}}]),
        }
        # What each path answers from its second question on.
        self.arrivals: dict[str, tuple[int, object]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class SilentFiles(SimpleHTTPRequestHandler):
    """What `python3 -m http.server` runs."""

    def log_message(self, *_: object) -> None:
        pass


class Answer(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        code, content = self.server.answers.get(path, (404, {}))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())
        if path in self.server.arrivals:
            self.server.answers[path] = self.server.arrivals.pop(path)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    with Fake() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for variable in VARIABLES:
            monkeypatch.setenv(variable, server.url)
        yield server
        server.shutdown()


@pytest.fixture
def nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody listens where the servers are looked for, and nobody said where that is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable in PORTS:
        monkeypatch.setenv(variable, port)
    return home


def checks(end_s: float | None = None) -> dict[str, Check]:
    newest = None if end_s is None else NewestOperation(trace_id=TRACE_ID, end_s=end_s)
    return {check.name: check for check in check_servers(newest)}


@pytest.mark.usefixtures("nobody")
def test_servers_that_are_not_configured_are_no_failure() -> None:
    found = checks(time.time() - 60)
    states = {name: check.state for name, check in found.items()}
    assert states == dict.fromkeys(NAMES, "unknown")


def test_a_server_that_a_variable_names_must_answer(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_TEMPO_URL", f"http://127.0.0.1:{os.environ[PORTS[0]]}/")
    check = checks()["Tempo"]
    assert check.state == "fail"
    assert "Connection refused" in check.found
    assert str(nobody / "stack" / "tempo.log") in check.remedy


def test_a_server_of_the_native_stack_must_answer_while_another_runs(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(os.environ[PORTS[0]])
    for variable in PORTS:
        monkeypatch.delenv(variable)
    write_state(nobody, port, started=started())
    assert {check.state for check in checks().values()} == {"fail"}


def test_a_native_stack_that_was_stopped_is_not_expected(nobody: Path) -> None:
    write_state(nobody, 1, started="1@another-boot")
    assert {check.state for check in checks().values()} == {"unknown"}


def test_a_broken_state_file_is_no_stack(nobody: Path) -> None:
    (nobody / "stack").mkdir(parents=True)
    (nobody / "stack" / "state.json").write_text('{"ports": ')
    assert {check.state for check in checks().values()} == {"unknown"}


@pytest.mark.usefixtures("fake")
def test_servers_that_are_ready_tell_their_versions() -> None:
    found = checks()
    assert {check.state for check in found.values()} == {"ok"}
    assert found["Prometheus"].found.endswith("is ready, version 3.14.0")
    assert found["Tempo"].found.endswith("is ready, version 2.8.4")
    assert found["Alertmanager"].found.endswith(", version 0.28.1, and gets Prometheus' alerts")


def test_an_alertmanager_without_the_alert_that_always_fires_is_a_warning(fake: Fake) -> None:
    fake.answers["/api/v2/alerts"] = (200, [])
    check = checks()["Alertmanager"]
    assert check.state == "warn"
    assert check.found.endswith(", but Prometheus sends it no alerts")
    assert "make up" in check.remedy


def test_an_alertmanager_that_does_not_say_what_fires_is_ready_all_the_same(fake: Fake) -> None:
    fake.answers["/api/v2/alerts"] = (500, {})
    check = checks()["Alertmanager"]
    assert (check.state, check.found) == ("ok", f"{fake.url} is ready, version 0.28.1")


def test_a_server_that_is_not_ready_says_so(fake: Fake) -> None:
    fake.answers["/api/search"] = (503, {})
    check = checks()["Tempo"]
    assert check.state == "fail"
    assert check.found == f"{fake.url}/api/search?limit=1 answers 503: it is not ready"

    assert check.remedy.endswith("see its log")


def test_a_server_of_the_native_stack_that_is_not_ready_names_its_log(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PORTS:
        monkeypatch.delenv(variable)
    with Fake() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.answers["/api/search"] = (503, {})
        write_state(nobody, server.server_port, started=started())
        remedy = checks()["Tempo"].remedy
        server.shutdown()
    assert remedy == f"wait a moment; if it stays so, see {nobody}/stack/tempo.log"


def test_a_server_that_cannot_say_its_version_is_ready_all_the_same(fake: Fake) -> None:
    fake.answers["/api/status/buildinfo"] = (500, {})
    assert checks()["Tempo"].found == f"{fake.url} is ready"


@pytest.mark.parametrize("answer", [(404, {}), (200, ["?"]), (200, {"status": "fine"})])
def test_something_else_that_answers_is_not_taken_for_the_server(
    fake: Fake, answer: tuple[int, object]
) -> None:
    fake.answers["/api/status/buildinfo"] = answer
    check = checks()["Tempo"]
    assert (check.state, check.found) == ("fail", f"the server at {fake.url} is not Tempo")
    assert "ORCHWATCH_TEMPO_URL" in check.remedy


@pytest.mark.usefixtures("nobody")
def test_a_web_server_at_their_ports_is_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = partial(SilentFiles, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for variable in PORTS:
            monkeypatch.setenv(variable, str(server.server_port))
        found = checks(time.time() - 60)
        server.shutdown()
    url = f"http://127.0.0.1:{server.server_port}"
    assert {name: (check.state, check.found) for name, check in found.items()} == {
        name: ("warn", f"the server at {url} is not {name}") for name in NAMES
    }


def exemplars(*timestamps: float) -> tuple[int, object]:
    found = [{"timestamp": timestamp} for timestamp in timestamps]
    return 200, {"status": "success", "data": [{"exemplars": found}]}


def test_servers_that_hold_the_newest_operation_are_fresh(fake: Fake) -> None:
    end_s = time.time() - 60
    fake.answers["/api/v1/query_exemplars"] = exemplars(end_s - 100, end_s + 1)
    fake.answers[f"/api/traces/{TRACE_ID}"] = (200, {})
    found = checks(end_s)
    assert found["Prometheus is fresh"].state == "ok"
    assert found["Tempo is fresh"].state == "ok"


@pytest.mark.parametrize(("age_s", "state"), [(1, "unknown"), (60, "fail")])
def test_an_operation_that_has_not_arrived_fails_once_it_had_the_time(
    fake: Fake, age_s: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_checks, "_CATCH_UP_S", 0.3)
    end_s = time.time() - age_s
    fake.answers["/api/v1/query_exemplars"] = exemplars(end_s - 100)
    found = checks(end_s)
    assert found["Prometheus is fresh"].state == state
    assert found["Tempo is fresh"].state == state


def test_a_stack_that_is_catching_up_is_given_a_moment(fake: Fake) -> None:
    end_s = time.time() - 60
    fake.answers["/api/v1/query_exemplars"] = exemplars(end_s - 100)
    fake.arrivals = {
        "/api/v1/query_exemplars": exemplars(end_s + 1),
        f"/api/traces/{TRACE_ID}": (200, {}),
    }
    found = checks(end_s)
    assert found["Prometheus is fresh"].state == "ok"
    assert found["Tempo is fresh"].state == "ok"


def test_a_server_that_does_not_say_what_it_holds_is_unknown(fake: Fake) -> None:
    fake.answers[f"/api/traces/{TRACE_ID}"] = (500, {})
    found = checks(time.time() - 60)
    assert found["Tempo is fresh"].state == "unknown"
    assert found["Prometheus is fresh"].state == "unknown"


def started() -> str:
    """This process, as stack/native.py writes it down."""
    with open("/proc/self/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return f"{fields[19]}@{boot.read().strip()}"


def write_state(home: Path, port: int, *, started: str) -> None:
    (home / "stack").mkdir(parents=True)
    state = {
        "ports": dict.fromkeys(
            ("collector_health", "prometheus", "tempo_http", "alertmanager"), port
        ),
        "processes": {"collector": {"pid": os.getpid(), "started": started}},
    }
    (home / "stack" / "state.json").write_text(json.dumps(state))
