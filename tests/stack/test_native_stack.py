"""The configs and the native stack, on the real servers."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.stack.conftest import (
    buckets,
    counted,
    eventually,
    get,
    known,
    opened,
    running,
    samples,
    search,
    value,
)

import build
from native import HOST, Ports, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("native stack")

REPO = Path(__file__).resolve().parents[2]
NATIVE = REPO / "stack" / "native.py"
CONFIG = REPO / "collector" / "config.yaml"
GATEWAY = CONFIG.with_name("gateway.yaml")
CONFIGS = (CONFIG, CONFIG.with_name("agent.yaml"), GATEWAY)
MS = 10**6
DAY = 24 * 3600 * 10**9

Json = dict[str, Any]


# OTLP/JSON by hand: the package that writes it in earnest must not be its own judge.


def text(value: str) -> Json:
    return {"stringValue": value}


def attributes(values: dict[str, Json]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]


def resource(service: str) -> Json:
    """What differs from process to process is in it, as in real ones."""
    own = {"service.name": text(service), "service.instance.id": text(secrets.token_hex(8))}
    return {"attributes": attributes(own)}


def span(
    operation: str | None,
    duration_ms: float,
    *,
    service: str,
    start: int | None = None,
    error: str | None = None,
    message: str = "",
    trace: str | None = None,
    more: dict[str, Json] | None = None,
) -> Json:
    """A resourceSpans message of one span; `operation` None makes it a span of something else."""
    start = start or time.time_ns()
    values = dict(more or {})
    if operation:
        values["orchestration.operation.name"] = text(operation)
    if error:
        values["error.type"] = text(error)
    one = {
        "traceId": trace or secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": operation or "something else",
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + round(duration_ms * MS)),
        "attributes": attributes(values),
        "status": {"code": 2 if error else 1, "message": message},
    }
    return {"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": [one]}]}]}


def metrics(service: str, *found: Json) -> Json:
    scopes = [{"metrics": list(found)}]
    return {"resourceMetrics": [{"resource": resource(service), "scopeMetrics": scopes}]}


def delta_sum(name: str, value: int, at: int, since: int) -> Json:
    point = {"asInt": str(value), "timeUnixNano": str(at), "startTimeUnixNano": str(since)}
    counted = {"dataPoints": [point], "aggregationTemporality": 1, "isMonotonic": True}
    return {"name": name, "sum": counted}


def write_segment(stack: Stack, segment: str, *messages: Json) -> None:
    kind = "resourceMetrics" if segment.startswith("metrics-") else "resourceSpans"
    header = {"orchwatch": {"segment": segment, "id": secrets.token_hex(16)}, kind: []}
    lines = [json.dumps(message) + "\n" for message in (header, *messages)]
    (stack.spool / f"{segment}.jsonl").write_text("".join(lines))


def post(url: str, message: Json) -> None:
    body = json.dumps(message).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opened(request).close()


# What the servers answer.


def spans_of(stack: Stack, trace: str) -> list[Json]:
    """The spans that Tempo has of a trace."""
    answer = get(f"{stack.tempo_url}/api/traces/{trace}")
    batches: list[Json] = answer.get("batches", [])
    return [one for batch in batches for scope in batch["scopeSpans"] for one in scope["spans"]]


def attribute_values(one: Json) -> dict[str, str]:
    return {item["key"]: item["value"].get("stringValue", "") for item in one["attributes"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose spool holds nothing but what these tests write, segment by segment."""
    with running(tmp_path_factory.mktemp("stack")) as found:
        yield found


# The configs, as files.


def test_the_collector_takes_its_config(stack: Stack) -> None:
    command = [str(build.binaries()["otelcol"]), "validate", f"--config={CONFIG}"]
    environment = {"ORCHWATCH_ACCESS_DIR": str(stack.access)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_promtool_takes_prometheus_config() -> None:
    config = REPO / "prometheus" / "prometheus.yml"
    command = [str(build.binaries()["promtool"]), "check", "config", str(config)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_built_collector_has_exactly_the_components_that_its_configs_use() -> None:
    listed = subprocess.run(
        [build.binaries()["otelcol"], "components"], capture_output=True, text=True, check=True
    )
    components = yaml.safe_load(listed.stdout)
    configs = [yaml.safe_load(path.read_text()) for path in CONFIGS]
    for kind in ("receivers", "processors", "connectors", "exporters", "extensions"):
        built = {component["name"] for component in components[kind]}
        used = {name.split("/")[0] for config in configs for name in config.get(kind, {})}
        assert built == used, kind


@pytest.mark.parametrize("path", [CONFIG, GATEWAY], ids=lambda path: path.name)
def test_everything_configured_is_part_of_a_pipeline(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    pipelines = config["service"]["pipelines"].values()
    for kind, ends in {
        "receivers": ["receivers"],
        "processors": ["processors"],
        "connectors": ["receivers"],
        "exporters": ["exporters"],
    }.items():
        used = {name for pipeline in pipelines for end in ends for name in pipeline[end]}
        assert set(config.get(kind, {})) <= used, kind
    assert set(config["extensions"]) == set(config["service"]["extensions"])


def test_the_builder_manifest_and_the_committed_modules_name_the_same_versions() -> None:
    manifest = yaml.safe_load(build.MANIFEST.read_text())
    required = (REPO / "stack" / "go" / "collector" / "go.mod").read_text()
    listed = [
        one["gomod"] for group in manifest.values() if isinstance(group, list) for one in group
    ]
    assert listed
    assert [one for one in listed if f"\t{one}\n" not in required] == []


# Building.


def run_build(cache: Path, path: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPO / "stack" / "build.py", *words],
        env={"HOME": str(cache), "XDG_CACHE_HOME": str(cache), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_go_is_one_clear_line(tmp_path: Path) -> None:
    done = run_build(tmp_path, path=str(tmp_path))
    assert done.returncode == 1
    assert (
        done.stderr == "error: Go is not installed (no `go` in PATH): it builds the local stack\n"
    )


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    cache = tmp_path / "file"
    cache.touch()
    (tmp_path / "go").touch(mode=0o755)  # which it never comes to
    done = run_build(cache, path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {cache}")
    assert done.stderr.count("\n") == 1


def test_what_is_built_is_not_built_again() -> None:
    out = io.StringIO()
    build.build_missing(out)
    assert [line.rpartition(": ")[2] for line in out.getvalue().splitlines()] == [
        "in the cache"
    ] * len(build.COMPONENTS)


def test_what_only_tests_run_is_not_needed_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "orchwatch" / "stack"
    cached.mkdir(parents=True)
    for component in build.SERVERS:
        (cached / component.directory().name).symlink_to(component.directory())
    done = run_build(tmp_path, str(tmp_path), "servers")
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    needed = {"otelcol", "prometheus", "promtool", "tempo", "alertmanager", "amtool"}
    assert set(build.binaries(build.SERVERS)) == needed
    with pytest.raises(build.StackError, match="pint, dashboard-linter"):
        build.binaries()


def test_a_changed_manifest_rebuilds_the_collector_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [component.directory() for component in build.COMPONENTS]
    changed = tmp_path / "builder.yaml"
    changed.write_text(build.MANIFEST.read_text() + "# more\n")
    monkeypatch.setattr(build, "MANIFEST", changed)
    after = [component.directory() for component in build.COMPONENTS]
    same = [old == new for old, new in zip(before, after, strict=True)]
    assert same == [component.name != "collector" for component in build.COMPONENTS]


# Starting and stopping.


def test_tempo_keeps_to_the_same_memory_here_and_in_containers(stack: Stack) -> None:
    pid = stack.running()["tempo"]
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    (limit,) = [one.partition("=")[2] for one in environment if one.startswith("GOMEMLIMIT=")]
    services = yaml.safe_load((REPO / "docker-compose.yml").read_text())["services"]
    assert limit == services["tempo"]["environment"]["GOMEMLIMIT"]


def environment(home: Path, ports: Ports) -> dict[str, str]:
    return {
        **os.environ,
        **ports.environment(),
        "ORCHWATCH_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home),  # no session of anybody's
    }


def native(command: str, home: Path, ports: Ports) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, NATIVE, command],
        env=environment(home, ports),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_up_status_and_down(tmp_path: Path) -> None:
    ports = Ports.free()
    stack = known(Stack(tmp_path, ports))
    try:
        up = native("up", tmp_path, ports)
        assert (up.returncode, up.stderr) == (0, "")
        assert stack.prometheus_url in up.stdout
        assert stack.alertmanager_url in up.stdout
        assert stack.tempo_url in up.stdout
        assert stat_mode(stack.spool) == 0o700

        again = native("up", tmp_path, Ports.free())
        assert again.returncode == 0
        assert "running already" in again.stdout
        assert stack.prometheus_url in again.stdout, "the ports it runs on, not those it would get"

        status = native("status", tmp_path, ports)
        assert status.returncode == 0
        assert status.stdout.count("running (pid ") == 5
    finally:
        down = native("down", tmp_path, ports)
    assert down.stdout == "Stopped: collector, prometheus, alertmanager, tempo, monitor\n"
    assert stack.running() == {}
    assert native("status", tmp_path, ports).returncode == 3
    assert native("down", tmp_path, ports).stdout == "The stack is not running.\n"


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("taken", ["tempo_http", "alertmanager"])
def test_a_port_in_use_is_named_with_its_variable_and_nothing_is_left_running(
    tmp_path: Path, taken: str
) -> None:
    ports = Ports.free()
    with socket.create_server((HOST, ports.numbers()[taken])):
        up = native("up", tmp_path, ports)
    assert up.returncode == 1
    assert up.stderr.count("\n") == 1
    assert str(ports.numbers()[taken]) in up.stderr
    assert f"ORCHWATCH_{taken.upper()}_PORT" in up.stderr
    assert Stack(tmp_path, ports).running() == {}


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("route: {receiver: nobody}\nreceivers: []\n", 'undefined receiver "nobody" used in route'),
        ("rout: {}\nroutes: {}\n", "field rout not found"),
        ("route: [\n", "yaml: line 1: did not find expected node content"),
        ("", "no route provided in config"),
    ],
)
def test_a_mistake_in_alertmanagers_file_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, named: str
) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(mistake)
    monkeypatch.setattr("launch._ALERTMANAGER_CONFIG", config)
    stack = Stack(tmp_path, Ports.free())
    with pytest.raises(build.StackError) as refused:
        stack.start()
    assert str(refused.value).startswith(f"{config}: ")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert stack.running() == {}


def test_up_starts_an_alertmanager_that_was_killed_and_down_ends_one_that_hangs(
    tmp_path: Path,
) -> None:
    ports = Ports.free()
    stack = Stack(tmp_path, ports)
    try:
        native("up", tmp_path, ports)
        others = {**stack.running()}
        stack.kill_component("alertmanager", signal.SIGKILL)
        # As in a home of a version that had none.
        shutil.rmtree(stack.data("alertmanager"))
        shutil.rmtree(tmp_path / "alertmanager")
        assert native("up", tmp_path, ports).returncode == 0
        os.kill(stack.running()["alertmanager"], signal.SIGSTOP)
        assert stack.running().keys() == others.keys()
        del others["alertmanager"]
        assert stack.running().items() >= others.items(), "those that ran were left alone"
    finally:
        down = native("down", tmp_path, ports)
    assert (down.returncode, down.stderr) == (0, "")
    assert stack.running() == {}


@pytest.mark.timeout(300)
def test_up_starts_again_what_runs_and_does_not_answer_and_only_that(tmp_path: Path) -> None:
    ports = Ports.free()
    stack = known(Stack(tmp_path, ports))
    try:
        native("up", tmp_path, ports)
        before = stack.running()
        hung = ("prometheus", "tempo", "monitor")
        for component in hung:
            os.kill(before[component], signal.SIGSTOP)
        up = native("up", tmp_path, ports)
        assert (up.returncode, up.stderr) == (0, "")
        assert up.stdout.startswith(f"Did not answer, and so started again: {', '.join(hung)}\n")
        after = stack.running()
        assert {name for name in before if before[name] != after[name]} == set(hung)
        assert "running already" in native("up", tmp_path, ports).stdout
        assert stack.running() == after
    finally:
        native("down", tmp_path, ports)


def test_up_restarts_the_servers_of_a_version_without_a_password(tmp_path: Path) -> None:
    ports = Ports.free()
    stack = known(Stack(tmp_path, ports))
    try:
        stack.start()
        before = stack.running()
        shutil.rmtree(stack.access)
        assert native("up", tmp_path, ports).returncode == 0
        assert not set(before.values()) & set(stack.running().values())
    finally:
        native("down", tmp_path, ports)


def test_a_port_variable_that_is_no_port_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, NATIVE, "up"],
        env={"ORCHWATCH_HOME": str(tmp_path), "ORCHWATCH_PROMETHEUS_PORT": "70000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: ORCHWATCH_PROMETHEUS_PORT=70000: not a port number\n"


@pytest.mark.parametrize(
    ("variable", "value", "wrong"),
    [
        ("ORCHWATCH_OTLP_COUNTED", "codex, gemini", "gemini is no agent whose files are read"),
        ("ORCHWATCH_OTLP_COUNTED", 'codex"', 'codex" is no agent whose files are read'),
        ("ORCHWATCH_OTLP_INTERNAL", "all", "neither drop nor keep"),
    ],
)
def test_a_setting_of_the_collectors_that_means_nothing_is_named(
    tmp_path: Path, variable: str, value: str, wrong: str
) -> None:
    ports = Ports.free()
    done = subprocess.run(
        [sys.executable, NATIVE, "up"],
        env={**environment(tmp_path, ports), variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {variable}={value}: {wrong}")
    assert not Stack(tmp_path, ports).running()


def test_two_servers_on_one_port_are_one_line_that_names_both_variables(tmp_path: Path) -> None:
    ports = dataclasses.replace(Ports.free(), prometheus=7319, monitor=7319)
    up = native("up", tmp_path, ports)
    assert (up.returncode, up.stdout) == (1, "")
    assert up.stderr == (
        "error: ORCHWATCH_PROMETHEUS_PORT and ORCHWATCH_MONITOR_PORT are both 7319: "
        "set one of them to another port\n"
    )


def test_ctrl_c_ends_what_up_has_started_and_says_so_in_one_line(tmp_path: Path) -> None:
    ports = Ports.free()
    # Nobody ever writes what Alertmanager waits to read here, so it does not get ready.
    (tmp_path / "stack" / "alertmanager").mkdir(parents=True)
    os.mkfifo(tmp_path / "stack" / "alertmanager" / "silences")
    with subprocess.Popen(
        [sys.executable, NATIVE, "up"],
        env=environment(tmp_path, ports),
        stderr=subprocess.PIPE,
        text=True,
    ) as up:
        eventually(Stack(tmp_path, ports).running)
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=60)
    assert said == "interrupted: what had been started is stopped again\n"
    assert up.returncode == 130
    for port in ports.numbers().values():
        socket.create_server((HOST, port)).close()


def test_a_process_that_got_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    ports = Ports.free()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "stack").mkdir()
        processes = {"tempo": {"pid": stranger.pid, "started": "1@another boot"}}
        state = {"ports": ports.numbers(), "processes": processes}
        (tmp_path / "stack" / "state.json").write_text(json.dumps(state))
        assert native("down", tmp_path, ports).stdout == "The stack is not running.\n"
        assert stranger.poll() is None
        stranger.kill()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    up = native("up", home, Ports.free())
    assert (up.returncode, up.stderr) == (1, f"error: {home}: File exists\n")


def test_what_cannot_be_written_down_is_not_left_running(tmp_path: Path) -> None:
    ports = Ports.free()
    (tmp_path / "stack" / "state.tmp").mkdir(parents=True)  # where the state is written first
    done = native("up", tmp_path, ports)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for port in ports.numbers().values():
        socket.create_server((HOST, port)).close()


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}", "\xff"])
def test_a_broken_state_is_one_line(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "stack" / "state.json"
    file.parent.mkdir()
    file.write_text(broken, encoding="latin-1")
    done = native("status", tmp_path, Ports())
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file} is broken: ")
    assert done.stderr.count("\n") == 1


# The flow.


def test_operations_are_counted_exactly_and_stored(stack: Stack) -> None:
    traces = [secrets.token_hex(16) for _ in range(4)]
    write_segment(
        stack,
        "operations-000001",
        span("state.query", 20, service="a", trace=traces[0]),
        span("state.query", 50, service="a", trace=traces[1]),
        span("state.query", 50.001, service="a", trace=traces[2]),
        span("state.query", 70, service="a", trace=traces[3], error="KeyError"),
        span(None, 30, service="a"),
    )

    common = {
        "__name__": "orchestration_operation_duration_seconds_count",
        "job": "a",
        "service_name": "a",
        "orchestration_operation_name": "state.query",
    }
    assert eventually(lambda: counted(stack, service="a") == 4)
    ok = buckets(stack, operation="state.query", status_code="STATUS_CODE_OK")
    assert [ok[edge] for edge in (0.01, 0.025, 0.05, 0.06, float("inf"))] == [0, 1, 2, 3, 3]
    failed = buckets(stack, operation="state.query", status_code="STATUS_CODE_ERROR")
    assert [failed[edge] for edge in (0.06, 0.075, float("inf"))] == [0, 1, 1]
    found = samples(stack, 'orchestration_operation_duration_seconds_count{service_name="a"}')
    assert sorted((count, labels) for labels, count in found) == [
        (count, {**common, **own})
        for count, own in (
            (1, {"status_code": "STATUS_CODE_ERROR", "error_type": "KeyError"}),
            (3, {"status_code": "STATUS_CODE_OK"}),
        )
    ]

    exemplars = get(
        f"{stack.prometheus_url}/api/v1/query_exemplars",
        query='orchestration_operation_duration_seconds_bucket{service_name="a"}',
        start=time.time() - 600,
        end=time.time() + 600,
    )
    labels = [one["labels"] for series in exemplars["data"] for one in series["exemplars"]]
    assert {label["trace_id"] for label in labels} == set(traces)
    assert eventually(lambda: all(spans_of(stack, trace) for trace in traces))
    failures = '{status=error && span.orchestration.operation.name="state.query"}'
    assert eventually(lambda: search(stack, failures)) == {traces[3]}


def test_a_series_that_begins_with_its_first_event_is_seen_by_increase(stack: Stack) -> None:
    write_segment(
        stack, "operations-000002", *(span("recovery.run", 9, service="b") for _ in range(5))
    )
    increase = 'increase(orchestration_operation_duration_seconds_count{service_name="b"}[5m])'
    eventually(lambda: value(stack, increase) == pytest.approx(5, rel=0.2))
    assert value(stack, increase) == pytest.approx(5, rel=0.2)


def test_the_header_line_of_a_segment_makes_neither_trace_nor_error(stack: Stack) -> None:
    said_before = stack.log("collector").read_text()
    write_segment(stack, "operations-000003")
    trace = secrets.token_hex(16)
    write_segment(stack, "operations-000004", span("hook.process", 1, service="c", trace=trace))
    found = eventually(lambda: search(stack, '{resource.service.name="c"}'))
    assert found == {trace}
    # In this order: operations of the tests before may still be on their way.
    assert search(stack, "{}") - search(stack, '{resource.service.name!=""}') == set()
    said = stack.log("collector").read_text().removeprefix(said_before)
    assert not re.search(r"\t(?:warn|error)\t", said)


@pytest.mark.parametrize("family", ["undelivered", "history"])
def test_other_families_are_stored_and_not_counted(stack: Stack, family: str) -> None:
    trace = secrets.token_hex(16)
    write_segment(stack, f"{family}-000001", span("state.query", 9, service=family, trace=trace))
    write_segment(stack, f"operations-{family}", span("state.query", 9, service=f"not {family}"))
    assert eventually(lambda: spans_of(stack, trace))
    counted = 'orchestration_operation_duration_seconds_count{service_name="%s"}'
    assert eventually(lambda: value(stack, counted % f"not {family}")) == 1
    assert value(stack, counted % family) is None


def test_a_home_may_be_called_anything(tmp_path: Path) -> None:
    trace = secrets.token_hex(16)
    with running(tmp_path / "a 'b\" $HOME${X}$$ [c]*{d} e: #é\\") as odd:
        write_segment(odd, "operations-000001", span("state.query", 9, service="z", trace=trace))
        assert eventually(lambda: spans_of(odd, trace))
        counted = 'orchestration_operation_duration_seconds_count{service_name="z"}'
        assert eventually(lambda: value(odd, counted)) == 1


def test_spans_of_the_past_are_found_at_their_own_times(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    then = time.time_ns() - 100 * DAY
    past = span("agent.spawn", 9, service="past", start=then, trace=trace)
    write_segment(stack, "history-000002", past)
    around = {"start": (then - DAY) // 10**9, "end": (then + DAY) // 10**9}
    found = eventually(lambda: search(stack, '{resource.service.name="past"}', **around))
    assert found == {trace}


def test_delta_sums_and_gauges_of_the_spool_arrive_exactly(stack: Stack) -> None:
    now = time.time_ns()
    same_process = resource("d")
    lines = []
    for step in range(1, 5):
        since, at = now + (step - 1) * MS, now + step * MS
        gauge = {
            "name": "agents",
            "gauge": {"dataPoints": [{"asInt": "7", "timeUnixNano": str(at)}]},
        }
        line = metrics("d", delta_sum("tasks", step, at, since), gauge)
        line["resourceMetrics"][0]["resource"] = same_process
        lines.append(line)
    write_segment(stack, "metrics-000001", *lines)
    assert eventually(lambda: value(stack, "tasks_total") == 1 + 2 + 3 + 4)
    assert value(stack, "agents") == 7


def test_services_that_count_themselves_land_in_the_same_histogram_once(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    now = time.time_ns()
    labels = {
        "orchestration.operation.name": text("state.query"),
        "status.code": text("STATUS_CODE_ERROR"),
        "error.type": text("KeyError"),
    }
    point = {
        "startTimeUnixNano": str(now - MS),
        "timeUnixNano": str(now),
        "count": "3",
        "sum": 0.3,
        "explicitBounds": [0.05, 0.1],
        "bucketCounts": ["1", "1", "1"],
        "attributes": attributes(labels),
    }
    histogram = {
        "name": "orchestration.operation.duration",
        "unit": "s",
        "histogram": {"dataPoints": [point], "aggregationTemporality": 1},
    }
    sent = span("state.query", 70, service="e", trace=trace, error="KeyError")
    post(f"{stack.otlp_http_url}/v1/traces", sent)
    post(f"{stack.otlp_http_url}/v1/metrics", metrics("e", histogram))

    assert eventually(lambda: spans_of(stack, trace))
    name = "orchestration_operation_duration_seconds_count"
    [(found, count)] = eventually(lambda: samples(stack, f'{name}{{service_name="e"}}'))
    assert count == 3, "the span is stored and not counted once more"
    assert found.pop("instance"), "two processes of a service are two series"
    assert found == {
        "__name__": name,
        "job": "e",
        "service_name": "e",
        "orchestration_operation_name": "state.query",
        "status_code": "STATUS_CODE_ERROR",
        "error_type": "KeyError",
    }


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa",
        "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "AKIAAAAAAAAAAAAAAAAA",
        "Bearer aaaaaaaaaaaaaaaaaaaaaaaa",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.aaaaaaaaaaaa",
        "-----BEGIN RSA PRIVATE KEY-----\naaaa\n",
        "https://user:aaaaaaaa@host/",
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(stack: Stack, secret: str) -> None:
    trace = secrets.token_hex(16)
    listed = {"arrayValue": {"values": [text("--key"), text(secret)]}}
    name = f"operations-secret-{trace[:8]}"
    said = f"said: {secret}"
    more = {"note": text(said), "arguments": listed}
    one = span("hook.process", 1, service="f", trace=trace, error="E", message=said, more=more)
    write_segment(stack, name, one)
    [found] = eventually(lambda: spans_of(stack, trace))
    assert "aaaa" not in json.dumps([found["attributes"], found["status"]])
    assert attribute_values(found)["note"].startswith("said: ")
    assert "****" in attribute_values(found)["note"]
    assert "****" in attribute_values(found)["arguments"]
    assert "****" in found["status"]["message"]


def test_what_fires_in_prometheus_arrives_in_alertmanager_with_a_link_back(stack: Stack) -> None:
    def fired() -> list[Any]:
        with opened(f"{stack.alertmanager_url}/api/v2/alerts") as answer:
            found = json.load(answer)
        return [one for one in found if one["labels"]["alertname"] == "Watchdog"]

    (watchdog,) = eventually(fired)
    link = watchdog["generatorURL"]
    assert link.startswith(f"{stack.prometheus_url}/")
    with opened(link) as page:
        assert page.status == 200
        assert b"<title>Prometheus</title>" in page.read()


def test_the_collectors_own_metrics_are_in_prometheus(stack: Stack) -> None:
    write_segment(stack, "operations-accepted", span("state.query", 9, service="accepted"))
    accepted = 'otelcol_receiver_accepted_spans_total{receiver="otlp_json_file/operations"}'
    assert eventually(lambda: value(stack, accepted))


def test_a_killed_collector_reads_nothing_twice(stack: Stack) -> None:
    counted = 'orchestration_operation_duration_seconds_count{service_name="%s"}'
    write_segment(stack, "operations-000005", span("state.query", 9, service="g"))
    assert eventually(lambda: value(stack, counted % "g")) == 1

    stack.kill_component("collector", signal.SIGKILL)
    killed = time.time()
    write_segment(stack, "operations-000006", span("state.query", 9, service="h"))
    stack.start_component("collector")
    assert eventually(lambda: value(stack, counted % "h")) == 1
    last_sample = value(stack, f"timestamp({counted % 'g'})")
    assert last_sample is not None
    assert last_sample < killed, "read again, its series would have begun anew"
