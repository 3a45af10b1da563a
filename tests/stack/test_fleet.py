"""Machines of a fleet, one gateway, Prometheus and Tempo: what each sent, added up."""

from __future__ import annotations

import gzip
import json
import signal
import ssl
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import DURATION, buckets, counted, eventually, get, samples, selector
from tests.stack.fleet import Gateway, Machine, make_certificate

from native import HOST
from orchwatch.diagnosis.fleet import gateway as asked
from orchwatch.diagnosis.fleet import tokens
from orchwatch.diagnosis.fleet.gateway import OPERATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from native import Stack

WITHIN_S = 120.0
# What docs/fleet.md says.
MOST_BYTES = 20 * 1024 * 1024
COUNT = f"{DURATION}_count"


@pytest.fixture
def gateway(stack: Stack, tmp_path: Path) -> Iterator[Gateway]:
    found = Gateway(tmp_path / "gateway", stack)
    found.start()
    yield found
    found.end()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    found = Machine(tmp_path / "one"), Machine(tmp_path / "two")
    yield found
    for machine in found:
        machine.end()


def joined(gateway: Gateway, *machines: Machine) -> None:
    for number, machine in enumerate(machines):
        token = tokens.add(gateway.tokens, f"machine-{number}").token
        machine.join(gateway, token, "--team", "reds")
        machine.start()


def trace_ids(stack: Stack, service: str) -> set[str]:
    query = f'{{resource.service.name="{service}"}}'
    found = get(f"{stack.tempo_url}/api/search", q=query, limit=5000)
    return {one["traceID"].zfill(32) for one in found.get("traces", [])}


@pytest.mark.timeout(900)
def test_histograms_of_all_machines_add_up_to_one_series(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    joined(gateway, *machines)
    for number in (20, 30):
        for machine in machines:
            machine.record("fleet-sum", number)
    assert eventually(lambda: counted(stack, service="fleet-sum") == 100, WITHIN_S)
    series = samples(stack, f"{COUNT}{selector(service='fleet-sum')}")
    outcomes = {labels["status_code"]: count for labels, count in series}
    assert outcomes == {"STATUS_CODE_OK": 90, "STATUS_CODE_ERROR": 10}
    assert len(series) == 2
    assert buckets(stack, service="fleet-sum")[float("inf")] == 100
    assert {labels["orchestration_team"] for labels, _ in series} == {"reds"}
    traces = eventually(
        lambda: len(found := trace_ids(stack, "fleet-sum")) == 100 and found, WITHIN_S
    )
    assert traces
    hosts = set()
    for trace in traces:
        batches = get(f"{stack.tempo_url}/api/traces/{trace}")["batches"]
        (resource,) = [batch["resource"]["attributes"] for batch in batches]
        texts = {one["key"]: one["value"].get("stringValue") for one in resource}
        assert texts["orchestration.team"] == "reds"
        hosts.add(texts["host.id"])
    assert len(hosts) == 2


def added_up(stack: Stack, service: str) -> float:
    """How much the counters of a service have counted, however often they began at zero again."""
    query = f"{COUNT}{selector(service=service)}[1h]"
    found = get(f"{stack.prometheus_url}/api/v1/query", query=query)["data"]["result"]
    total = 0.0
    for series in found:
        values = [float(text) for _, text in series["values"]]
        before_resets = [one for one, after in pairwise(values) if after < one]
        total += values[-1] + sum(before_resets)
    return total


def added(service: str, at_ns: int) -> bytes:
    """One operation of 30 ms, as an agent's delta: what was added by `at_ns`."""
    edges = [0.01, 0.05]
    point = {
        "startTimeUnixNano": str(at_ns - 10**9),
        "timeUnixNano": str(at_ns),
        "count": "1",
        "sum": 0.03,
        "explicitBounds": edges,
        "bucketCounts": ["0", "1", "0"],
        "attributes": [_text("orchestration.operation.name", "state.query")],
    }
    histogram = {"aggregationTemporality": 1, "dataPoints": [point]}
    metric = {"name": "orchestration.operation.duration", "unit": "s", "histogram": histogram}
    resource = {"attributes": [_text("service.name", service)]}
    scopes = [{"scope": {"name": "agent"}, "metrics": [metric]}]
    whole = {"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}
    return json.dumps(whole).encode()


def _text(key: str, text: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": text}}


@pytest.mark.timeout(900)
def test_fifty_machines_at_once_add_up_whatever_their_clocks_say(
    stack: Stack, gateway: Gateway
) -> None:
    token = tokens.add(gateway.tokens, "many").token
    trusted = ssl.create_default_context(cafile=str(gateway.certificate))

    def send(machine: int) -> None:
        # From an hour behind to an hour ahead, and each of its points behind the one before.
        clock_ns = time.time_ns() + (machine - 25) * 144 * 10**9
        for number in range(20):
            request = urllib.request.Request(
                f"{gateway.url}/v1/metrics",
                added("fleet-fifty", clock_ns - number * 10**6),
                {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
            )
            urllib.request.urlopen(request, context=trusted).close()

    assert eventually(lambda: taken(gateway, token))
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(send, range(50)))
    assert eventually(lambda: counted(stack, service="fleet-fifty") == 1000, WITHIN_S), counted(
        stack, service="fleet-fifty"
    )
    assert len(samples(stack, f"{COUNT}{selector(service='fleet-fifty')}")) == 1
    assert buckets(stack, service="fleet-fifty") == {0.01: 0, 0.05: 1000, float("inf"): 1000}


def taken(gateway: Gateway, token: str) -> bool:
    """Whether the gateway has read of a token."""
    try:
        asked.Gateway(url=gateway.url, ca=str(gateway.certificate)).take_nothing(token)
    except asked.TokenRefusedError:
        return False
    return True


@pytest.mark.timeout(900)
def test_a_gateway_that_is_killed_again_and_again_loses_no_count_and_no_trace(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    joined(gateway, *machines)
    for _ in range(3):
        for machine in machines:
            machine.record("fleet-killed", 50)
        gateway.end(signal.SIGKILL)
        for machine in machines:
            machine.record("fleet-killed", 50)
        gateway.start()
    assert eventually(lambda: added_up(stack, "fleet-killed") >= 600, WITHIN_S)
    assert eventually(lambda: len(trace_ids(stack, "fleet-killed")) == 600, WITHIN_S)
    # A batch whose sums were on disk, and whose sender had not heard of it, is added up twice: of
    # each kill one, and no batch has more than what was recorded at once.
    assert added_up(stack, "fleet-killed") <= 600 + 3 * 200


@pytest.mark.timeout(900)
def test_what_a_revoked_token_had_dropped_is_found_and_sent_again_and_counted(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    joined(gateway, *machines)
    one, other = machines
    one.record("fleet-revoked", 20)
    assert eventually(lambda: counted(stack, service="fleet-revoked") == 20, WITHIN_S)
    assert eventually(lambda: len(trace_ids(stack, "fleet-revoked")) == 20, WITHIN_S)

    tokens.revoke(gateway.tokens, "machine-0")
    refused = eventually(lambda: (done := one.orchwatch("fleet", "status")).returncode and done)
    assert refused
    assert refused.returncode == 3
    assert "it was revoked" in refused.stderr
    assert refused.stderr.count("\n") == 1
    one.record("fleet-revoked", 30)
    other.record("fleet-revoked", 10)
    assert eventually(lambda: one.dropped("traces", 30) and one.dropped("metrics", 1), WITHIN_S)
    # The other machine is not concerned.
    assert eventually(lambda: counted(stack, service="fleet-revoked") == 30, WITHIN_S)

    one.join(gateway, tokens.add(gateway.tokens, "machine-0").token, "--team", "reds")
    whole = one.orchwatch("fleet", "status", "--tempo-url", stack.tempo_url)
    assert (whole.returncode, whole.stderr) == (0, "")
    words = ("fleet", "resend", "--since", "1h", "--tempo-url", stack.tempo_url)
    dry = eventually(lambda: (done := one.orchwatch(*words, "--dry-run")).returncode == 3 and done)
    assert dry, one.orchwatch(*words, "--dry-run")
    sent = one.orchwatch(*words)
    assert "30 spans sent again" in sent.stdout, sent
    assert eventually(lambda: counted(stack, service="fleet-revoked") == 60, WITHIN_S)
    assert eventually(lambda: len(trace_ids(stack, "fleet-revoked")) == 60, WITHIN_S)
    assert eventually(lambda: one.orchwatch(*words, "--dry-run").returncode == 0)


@pytest.mark.timeout(600)
def test_a_token_is_changed_without_a_gap(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    one, _ = machines
    joined(gateway, one)
    (old,) = [each for each in tokens.listed(gateway.tokens) if each.machine == "machine-0"]
    one.record("fleet-rotated", 10)
    one.join(gateway, tokens.add(gateway.tokens, "machine-0").token)
    assert eventually(lambda: counted(stack, service="fleet-rotated") == 10, WITHIN_S)
    tokens.revoke(gateway.tokens, old.id)
    assert eventually(lambda: "refuses" in one.ask(gateway, old.token).stderr)
    one.record("fleet-rotated", 10)
    assert eventually(lambda: counted(stack, service="fleet-rotated") == 20, WITHIN_S)
    assert not one.dropped("traces", 1)
    assert not one.dropped("metrics", 1)


@pytest.mark.timeout(900)
def test_what_two_gateways_were_sent_adds_up_though_a_machine_changes_between_them(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    second = Gateway(tmp_path / "second", stack, "second")
    second.start()
    try:
        joined(gateway, *machines)
        for machine in machines:
            machine.record("fleet-two", 10)
        assert eventually(lambda: counted(stack, service="fleet-two") == 20, WITHIN_S)
        moved, _ = machines
        moved.end(signal.SIGTERM)
        joined(second, moved)
        for machine in machines:
            machine.record("fleet-two", 10)
        assert eventually(lambda: counted(stack, service="fleet-two") == 40, WITHIN_S)
    finally:
        second.end()
    by_gateway = f"sum by (instance) ({COUNT}{selector(service='fleet-two')})"
    found = {labels["instance"]: count for labels, count in samples(stack, by_gateway)}
    assert found == {"gateway": 30, "second": 10}


def answered(gateway: Gateway, token: str, body: bytes, *, packed: bool) -> int:
    """The status of an answer, 0 where the connection was closed while the body was sent."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        f"{gateway.url}/v1/metrics",
        gzip.compress(body) if packed else body,
        {**headers, "Content-Encoding": "gzip"} if packed else headers,
    )
    trusted = ssl.create_default_context(cafile=str(gateway.certificate))
    try:
        with urllib.request.urlopen(request, context=trusted) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("packed", [False, True])
def test_a_request_beyond_the_bound_is_refused_and_the_next_one_is_taken(
    packed: bool, gateway: Gateway
) -> None:
    token = tokens.add(gateway.tokens, "flood").token
    assert eventually(lambda: taken(gateway, token))
    short, long = (added("x" * length, time.time_ns()) for length in (20, MOST_BYTES))
    assert answered(gateway, token, short, packed=packed) == 200
    assert answered(gateway, token, long, packed=packed) in (0, 400, 413)
    assert answered(gateway, token, short, packed=packed) == 200


@pytest.mark.timeout(300)
def test_the_last_token_that_is_revoked_is_refused_too(
    gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    token = tokens.add(gateway.tokens, "last").token
    assert eventually(lambda: machines[0].ask(gateway, token).returncode == 0)
    for each in {one.machine for one in tokens.listed(gateway.tokens)}:
        tokens.revoke(gateway.tokens, each)
    assert eventually(lambda: machines[0].ask(gateway, token).returncode == 1)
    assert "the gateway refuses the token" in machines[0].ask(gateway, token).stderr


@pytest.mark.timeout(300)
def test_what_is_wrong_with_a_gateway_is_one_clear_line(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    machine, other = machines
    token = tokens.add(gateway.tokens, "one").token
    assert eventually(lambda: machine.ask(gateway, token).returncode == 0)
    make_certificate(tmp_path / "other")
    away = f"https://{HOST}:{other.ports.collector_otlp_http}"
    plain = f"https://{HOST}:{stack.ports.prometheus}"
    unknown = "owf_00000000_" + "0" * 48
    for url, shown, ca, said in (
        (gateway.url, unknown, gateway.certificate, "the gateway refuses the token: it is not one"),
        (
            gateway.url,
            token,
            tmp_path / "other" / "tls.crt",
            "its certificate does not hold against",
        ),
        (gateway.url, token, None, "its certificate does not hold against the authorities"),
        (away, token, gateway.certificate, "no gateway answers there (Connection refused)"),
        (plain, token, gateway.certificate, "the server there does not speak TLS"),
        (stack.prometheus_url, token, None, "the server there is no gateway of a fleet"),
    ):
        trusted = ("--ca", str(ca)) if ca else ()
        done = other.orchwatch("fleet", "join", url, "--token-file", "-", *trusted, stdin=shown)
        assert (done.returncode, done.stdout) == (1, ""), said
        assert done.stderr.startswith(f"orchwatch: {url}: {said}"), done.stderr
        assert done.stderr.count("\n") == 1
        assert shown not in done.stderr
    assert not (other.home / "fleet" / "joined.json").exists()


@pytest.mark.timeout(300)
def test_the_operation_of_a_join_is_found_in_tempo(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    machine, _ = machines
    machine.join(gateway, tokens.add(gateway.tokens, "one").token, "--tempo-url", stack.tempo_url)
    identity = (machine.home / "fleet" / "machine-id").read_text().strip()
    query = f'{{name="{OPERATION}" && resource.host.id="{identity}"}}'
    # Found by its id at once, by a search a little later.
    found = eventually(lambda: get(f"{stack.tempo_url}/api/search", q=query)["traces"], WITHIN_S)
    assert [one["rootTraceName"] for one in found] == [OPERATION]


@pytest.mark.timeout(600)
def test_no_secret_leaves_a_machine(
    stack: Stack, gateway: Gateway, machines: tuple[Machine, Machine]
) -> None:
    machine, _ = machines
    joined(gateway, machine)
    token = tokens.add(gateway.tokens, "other").token
    code = """
        import sys
        from orchwatch import operation
        with operation("state.query", {"said": sys.argv[1]}):
            pass
    """
    machine.run_program("fleet-secret", code, token)
    (trace,) = eventually(lambda: trace_ids(stack, "fleet-secret"), WITHIN_S)
    text = json.dumps(get(f"{stack.tempo_url}/api/traces/{trace}"))
    assert token not in text
    assert "****" in text
