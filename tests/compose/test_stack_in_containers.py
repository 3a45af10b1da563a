"""docker-compose.yml on a real engine: what goes in at the spool comes out of the servers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.compose.engine import ROOT, Project, wait_until

import orchwatch
from orchwatch.analysis import alert_events
from orchwatch.recording import stack_access
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable

COLLECTOR_HEALTH = "http://127.0.0.1:13133"
COLLECTOR_OTLP = "http://127.0.0.1:4318"
PROMETHEUS = "http://127.0.0.1:9090"
TEMPO = "http://127.0.0.1:3200"
ALERTMANAGER = "http://127.0.0.1:9093"
# Their paths begin with the secret one.
BELOW_PATH = (COLLECTOR_HEALTH, TEMPO)

# The image of Grafana can neither be had nor built here.
SERVERS = ("collector", "prometheus", "alertmanager", "tempo")
SPOOL_UID = 1000

# One round takes some 20 s, and every operation occurs in each.
_DEMO_ROUND_S = 120.0
# Counted within 5 s, evaluated within 15 s, held for 10 s in case something explains it.
_FIRES_S = 90.0
_LISTENING = "0A"
# Asked in vain twelve times, each time for five seconds, with five more in between.
_RESTART_S = 300.0
_S = 1_000_000_000
_DURATION = "orchestration_operation_duration_seconds"


@pytest.fixture(autouse=True)
def shown_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The home whose password `shown` shows, where a test names no other."""
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "orchwatch"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What `ORCHWATCH_HOME` looks like after the first operation of user 1000."""
    return make_home(tmp_path, SPOOL_UID)


def make_home(parent: Path, uid: int) -> Path:
    home = parent / "orchwatch"
    for directory in (home, home / "spool"):
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, uid)
    return home


def write_segment(home: Path, number: int, durations_s: list[float], *, failed: int = 0) -> str:
    """Writes a segment with one trace of `state.query` operations; returns the trace's id."""
    trace_id = secrets.token_hex(16)
    name = f"operations-{number:06d}"
    header = {"orchwatch": {"segment": name, "id": secrets.token_hex(16)}, "resourceSpans": []}
    lines = [header]
    for index, duration_s in enumerate(durations_s):
        lines.append(operation(trace_id, duration_s, failed=index < failed))
    segment = home / "spool" / f"{name}.jsonl"
    segment.touch(mode=0o600)
    owner = (home / "spool").stat()
    os.chown(segment, owner.st_uid, owner.st_gid)
    segment.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return trace_id


def operation(trace_id: str, duration_s: float, *, failed: bool = False) -> dict[str, Any]:
    """One `state.query` that ends now, in OTLP/JSON."""
    ended_ns = time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "state.query",
        "kind": 1,
        "startTimeUnixNano": str(ended_ns - round(duration_s * _S)),
        "endTimeUnixNano": str(ended_ns),
        "attributes": [_attribute("orchestration.operation.name", "state.query")],
        "status": {"code": 2 if failed else 1},
    }
    resource = {"attributes": [_attribute("service.name", "orchestration")]}
    scope = {"scope": {"name": "orchwatch"}, "spans": [span]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def shown(url: str, *content: Any) -> urllib.request.Request:
    """A request that shows what the servers of the home under test want to be shown."""
    path = stack_access.below_path(url) if url in BELOW_PATH else url
    for root in BELOW_PATH:
        if url.startswith(f"{root}/"):
            path = stack_access.below_path(root) + url.removeprefix(root)
    request = urllib.request.Request(path, *content)
    request.add_header("Authorization", stack_access.authorization() or "")
    return request


def get(url: str, **parameters: str) -> dict[str, Any] | None:
    """The JSON that a server answers, or None while it does not."""
    try:
        asked = shown(f"{url}?{urllib.parse.urlencode(parameters)}" if parameters else url)
        with urllib.request.urlopen(asked) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return None


def counts(suffix: str = "count", **labels: str) -> dict[str, int]:
    """What Prometheus has counted, by operation."""
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return counts_of(f"{_DURATION}_{suffix}{{{wanted}}}")


def counts_of(series: str) -> dict[str, int]:
    query = f"sum by (orchestration_operation_name) ({series})"
    answer = get(f"{PROMETHEUS}/api/v1/query", query=query)
    found = answer["data"]["result"] if answer else []
    return {
        series["metric"]["orchestration_operation_name"]: int(series["value"][1])
        for series in found
    }


def spans_in_tempo(trace_id: str) -> int:
    trace = get(f"{TEMPO}/api/traces/{trace_id}") or {"batches": []}
    return sum(len(scope["spans"]) for batch in trace["batches"] for scope in batch["scopeSpans"])


def wait_for(trace_id: str, *, spans: int, counted: int) -> None:
    wait_until(f"{counted} counted", lambda: counts().get("state.query") == counted)
    wait_until(f"{spans} spans", lambda: spans_in_tempo(trace_id) == spans)


def test_what_fires_in_prometheus_arrives_in_alertmanager_and_can_be_silenced(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.up("prometheus", "alertmanager")

    def watchdog(state: str) -> bool:
        # A list, which `get` does not know.
        answer: Any = get(f"{ALERTMANAGER}/api/v2/alerts") or []
        return any(
            (one["labels"]["alertname"], one["status"]["state"]) == ("Watchdog", state)
            for one in answer
        )

    wait_until("the watchdog is heard", lambda: watchdog("active"))
    # As the runbook says it.
    amtool = ("amtool", "--alertmanager.url=http://127.0.0.1:9093", "silence", "add")
    silence = ("alertname=Watchdog", "--duration=2h", "--comment=why")
    project.compose("exec", "-T", "alertmanager", *amtool, *silence)
    wait_until("the watchdog is silenced", lambda: watchdog("suppressed"))


def test_operations_in_the_spool_are_counted_in_prometheus_and_stored_in_tempo(
    start: Callable[..., Project], home: Path
) -> None:
    start(home).up(*SERVERS)
    trace_id = write_segment(home, 1, [0.049] * 70 + [0.050] * 20 + [0.051] * 10, failed=3)

    wait_for(trace_id, spans=100, counted=100)
    assert counts("bucket", le="0.05") == {"state.query": 90}
    assert counts(status_code="STATUS_CODE_ERROR") == {"state.query": 3}
    found = wait_until(
        "the failed ones are found",
        lambda: (get(f"{TEMPO}/api/search", q="{ status = error }") or {}).get("traces", []),
    )
    assert [trace["traceID"].zfill(32) for trace in found] == [trace_id]


def test_a_program_on_the_host_can_send_its_spans_over_otlp(
    start: Callable[..., Project], home: Path
) -> None:
    start(home).up(*SERVERS)
    trace_id = secrets.token_hex(16)
    wait_until("the collector is ready", lambda: get(COLLECTOR_HEALTH))
    request = shown(
        f"{COLLECTOR_OTLP}/v1/traces",
        json.dumps(operation(trace_id, 0.01)).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200

    wait_until("it is stored", lambda: spans_in_tempo(trace_id) == 1)


def test_restarted_containers_read_nothing_twice_and_forget_nothing(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.up(*SERVERS)
    first = write_segment(home, 1, [0.01] * 50)
    wait_for(first, spans=50, counted=50)

    project.compose("down", "--timeout=5")
    second = write_segment(home, 2, [0.01] * 7)
    project.up(*SERVERS)

    # A new Collector counts from zero, in the same series.
    wait_for(second, spans=7, counted=7)
    assert spans_in_tempo(first) == 50
    assert counts_of(f"max_over_time({_DURATION}_count[1h])") == {"state.query": 50}


def test_no_server_is_root_or_can_write_outside_its_volume_or_gain_rights(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.up(*SERVERS)

    for service in SERVERS:
        container = project.container(service)
        status = _proc_status(container["State"]["Pid"])
        assert "0" not in status["Uid"].split(), service
        assert "0" not in status["Gid"].split(), service
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}, service
        assert status["NoNewPrivs"] == "1", service
        assert status["Seccomp"] == "2", service
        writable = {mount["Destination"] for mount in container["Mounts"] if mount["RW"]}
        assert len(writable) == 1, service
        assert _root_options(container["State"]["Pid"]) >= {"ro"}, service
        assert container["HostConfig"]["Memory"] > 0, service


def test_nothing_listens_on_any_other_address_than_loopback(
    start: Callable[..., Project], home: Path
) -> None:
    start(home).up(*SERVERS)

    listening = {
        line.split()[1].split(":")[0]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == _LISTENING
    }
    assert listening == {"0100007F"}


@pytest.mark.parametrize("service", SERVERS)
def test_the_health_check_of_a_server_runs_in_its_image(
    start: Callable[..., Project], home: Path, service: str
) -> None:
    project = start(home)
    project.up(service)

    wait_until(
        f"{service} is healthy",
        lambda: project.container(service)["State"]["Health"]["Status"] == "healthy",
    )


@pytest.mark.timeout(900)
def test_a_server_that_hangs_is_started_again(start: Callable[..., Project], home: Path) -> None:
    project = start(home)
    project.up("tempo", "collector")

    def healthy(service: str, starts: int) -> bool:
        found = project.container(service)
        is_healthy: bool = found["State"]["Health"]["Status"] == "healthy"
        return is_healthy and found["RestartCount"] == starts

    for service in ("tempo", "collector"):
        wait_until(f"{service} is healthy", partial(healthy, service, 0))
        # The first process is the one that Docker gives it.
        container = project.container(service)
        for pid in project.engine.docker("top", container["Id"], "-o", "pid").split()[1:]:
            if int(pid) != container["State"]["Pid"]:
                os.kill(int(pid), signal.SIGSTOP)
    for service in ("tempo", "collector"):
        wait_until(f"{service} is back", partial(healthy, service, 1), _RESTART_S)


def test_a_server_without_the_password_or_the_path_answers_nothing(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.up(*SERVERS)
    wait_until("the collector is ready", lambda: get(COLLECTOR_HEALTH))
    wait_until("tempo is ready", lambda: get(f"{TEMPO}/api/search", limit="1"))
    wait_until("prometheus is ready", lambda: get(f"{PROMETHEUS}/api/v1/query", query="up"))
    for url, code in (
        (f"{PROMETHEUS}/api/v1/query?query=up", 401),
        (f"{ALERTMANAGER}/api/v2/silences", 401),
        (f"{COLLECTOR_OTLP}/v1/traces", 401),
        (COLLECTOR_HEALTH, 404),
        (f"{TEMPO}/ready", 404),
        (f"{TEMPO}/shutdown", 404),
    ):
        # What a name server may have told the browser.
        body = b"{}" if url.startswith(COLLECTOR_OTLP) else None
        headers = {"Host": "evil.example", "Content-Type": "application/json"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, body, headers))
        assert refused.value.code == code, url
    lent = {path.stat().st_mode & 0o77 for path in (home / "stack" / "access").rglob("*")}
    assert lent == {0}
    assert (home / "stack" / "access" / "password").stat().st_uid == SPOOL_UID


def test_a_spool_of_another_user_is_named_with_what_to_set_and_read_once_it_is_set(
    start: Callable[..., Project], tmp_path: Path
) -> None:
    home = make_home(tmp_path, 4321)
    project = start(home)
    trace_id = write_segment(home, 1, [0.01] * 5)

    refused = project.up(*SERVERS, check=False)
    assert refused.returncode != 0
    assert "check-spool" in refused.stderr
    assert project.logs("check-spool") == (
        "the spool belongs to uid 4321, its reader runs as uid 1000: "
        "put ORCHWATCH_UID=4321 and ORCHWATCH_GID=4321 into .env and start again\n"
    )

    start(home, ORCHWATCH_UID="4321", ORCHWATCH_GID="4321").up(*SERVERS)
    wait_for(trace_id, spans=5, counted=5)


def test_a_home_that_docker_had_to_make_belongs_to_the_user_who_writes_it(
    start: Callable[..., Project], tmp_path: Path
) -> None:
    home = tmp_path / "orchwatch"
    start(home).up(*SERVERS)

    for directory in (home, home / "spool"):
        found = directory.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (SPOOL_UID, SPOOL_UID, 0o700)
    trace_id = write_segment(home, 1, [0.01] * 5)
    wait_for(trace_id, spans=5, counted=5)


def test_the_demo_keeps_every_operation_of_the_table_coming(
    start: Callable[..., Project], tmp_path: Path
) -> None:
    project = start(tmp_path / "orchwatch")
    project.compose("--profile=demo", "build", "demo")
    project.compose("--profile=demo", "up", "--detach", "--pull=never", "demo", *SERVERS)

    wanted = {name for name, target in target_table.load().operations.items() if target.target_s}
    once = dict.fromkeys(wanted, 0)

    def all_are_counted_again() -> bool:
        assert project.container("demo")["RestartCount"] == 0
        now = counts()
        return all(now.get(name, 0) > before for name, before in once.items())

    wait_until("all are counted", all_are_counted_again, timeout_s=_DEMO_ROUND_S)
    once |= counts()
    wait_until("all go on", all_are_counted_again, timeout_s=_DEMO_ROUND_S)
    status = _proc_status(project.container("demo")["State"]["Pid"])
    assert set(status["Uid"].split()) == {str(SPOOL_UID)}
    assert int(status["CapBnd"], 16) == 0


def test_the_monitor_follows_the_sessions_of_the_host_and_takes_its_hooks(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.compose("build", "monitor")
    project.up("monitor", *SERVERS)
    projects = project.claude / "projects"
    # Made by Docker, and the user's all the same. Around it nothing is written: that is only said.
    assert (project.claude.stat().st_uid, projects.stat().st_uid) == (0, SPOOL_UID)
    assert f"sudo chown {SPOOL_UID}:" in project.compose("logs", "prepare").stdout
    write_session(projects / "p" / "00000000-0000-4000-8000-000000000001.jsonl")
    wait_until("the tool call is counted", lambda: counts().get("tool.execute") == 1)
    event = {"hook_event_name": "Notification", "session_id": "s"}
    request = urllib.request.Request(
        "http://127.0.0.1:7319/claude/hook",
        json.dumps(event).encode(),
        {"X-Orchwatch-Secret": (home / "hook-secret").read_text().strip()},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_an_alert_that_fires_is_written_into_the_event_stream_of_the_home(
    start: Callable[..., Project], home: Path
) -> None:
    project = start(home)
    project.compose("build", "monitor")
    project.up("monitor", *SERVERS)
    write_segment(home, 1, [0.01] * 20, failed=10)

    def told() -> set[tuple[str, str]]:
        events = alert_events.latest(home / "spool", 1000)
        return {
            (event.name, event.state)
            for event in events
            if event.evaluator == alert_events.ALERTMANAGER
        }

    wait_until("the event is there", lambda: ("ErrorBudgetBurn", "firing") in told(), _FIRES_S)
    alerts = home / "alertmanager"
    kept = {path.name: path.stat() for path in (alerts, *alerts.iterdir())}
    assert {found.st_uid for found in kept.values()} == {SPOOL_UID}
    assert kept["credentials"].st_mode & 0o777 == 0o600


def write_session(file: Path) -> None:
    """A session in which a tool was called just now."""
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    lines = [
        {"type": kind, "uuid": kind, "sessionId": file.stem, "timestamp": moment, "message": said}
        for kind, said in (
            ("user", {"role": "user", "content": "x"}),
            ("assistant", {"role": "assistant", "content": [call]}),
            ("user", {"role": "user", "content": [result]}),
        )
    ]
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_what_generate_writes_starts_where_there_is_no_checkout(
    start: Callable[..., Project], home: Path, tmp_path: Path
) -> None:
    stack = tmp_path / "stack"
    subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "generate", "--output", str(stack)],
        check=True,
        cwd=tmp_path,
    )
    project = start(home, stack)
    project.compose("build", "monitor")
    project.up("monitor", *SERVERS)
    trace_id = write_segment(home, 1, [0.01] * 5)

    wait_for(trace_id, spans=5, counted=5)
    wait_until("the monitor runs", (home / "monitor" / "lock").exists)
    version = project.compose("exec", "-T", "monitor", "/opt/orchwatch/bin/orchwatch", "--version")
    assert version.stdout == f"orchwatch {orchwatch.__version__}\n"


def test_only_grafana_is_not_started_here() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services.keys() - {
        *SERVERS,
        "demo",
        "monitor",
        "prepare",
        "tools",
        "check-spool",
    } == {"grafana"}


def test_docker_compose_accepts_the_file_without_a_warning(
    start: Callable[..., Project], tmp_path: Path
) -> None:
    read = start(tmp_path).compose("--profile=demo", "config", "--quiet")
    assert read.stdout + read.stderr == ""


def _proc_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _root_options(pid: int) -> set[str]:
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == "/":
            return set(fields[5].split(","))
    raise AssertionError(f"process {pid} has no root")
