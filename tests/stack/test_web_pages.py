"""A web page in the user's browser gets nothing from the servers, and does nothing to them.

Two kinds of pages: one of another origin, and one whose own name was resolved to this machine once
it had been loaded (DNS rebinding), so that the browser takes the server for the page's own and lets
it send every header and read every answer.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.chromium import Chromium
from tests.stack.conftest import eventually, get, opened, running, samples, stored

from native import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from native import Stack

# One worker, one stack and one browser.
pytestmark = [pytest.mark.xdist_group("web pages"), pytest.mark.timeout(600)]

EVIL, REBOUND = "evil.example", "rebound.example"
PAGE = "<!doctype html><title>a page</title><p>Look at the birds."
JSON, TEXT = "application/json", "text/plain"
FORM, PROTOBUF, GRPC = (
    "application/x-www-form-urlencoded",
    "application/x-protobuf",
    "application/grpc",
)
REFUSED = {401, 404}
_LISTENING = "0A"

# Asks each request as it is given, and tells what the page may know of its answer.
ASK = """
async function ask(one) {
    const options = {method: one.method, mode: one.mode, headers: one.headers,
                     credentials: "include", signal: AbortSignal.timeout(20000)};
    if (one.body !== null) options.body = one.body;
    try {
        const answer = await fetch(one.url, options);
        const text = (await answer.text()).slice(0, 200);
        return {kind: answer.type, status: answer.status, text: text};
    } catch (error) {
        return {kind: "error", status: null, text: ""};
    }
}
(async () => {
    const found = [];
    for (const one of %s) found.push(await ask(one));
    return found;
})()
"""

WEB_SOCKET = """
new Promise((resolve) => {
    const socket = new WebSocket(%s);
    socket.onopen = () => resolve(true);
    socket.onerror = () => resolve(false);
})
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One request that a page would like to make.

    Attributes:
        server: The field of `Ports` that it goes to.
        path: What is asked for there.
        headers: Beside the content type, what a page of the same origin may send.
    """

    server: str
    path: str
    method: str = "GET"
    content: str = ""
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.method, self.server, self.path, self.content)))


def _moment(s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + s))


def _span() -> dict[str, Any]:
    now = time.time_ns()
    return {
        "traceId": TRACE,
        "spanId": secrets.token_hex(8),
        "name": "forged",
        "kind": 1,
        "startTimeUnixNano": str(now - 10**6),
        "endTimeUnixNano": str(now),
        "status": {"code": 1},
    }


def _metric() -> dict[str, Any]:
    point = {"asDouble": 1, "timeUnixNano": str(time.time_ns())}
    return {"name": "forged", "gauge": {"dataPoints": [point]}}


TRACE = secrets.token_hex(16)
SPANS = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [_span()]}]}]})
METRICS = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [_metric()]}]}]})
LOGS = json.dumps({"resourceLogs": []})
SILENCE = json.dumps(
    {
        "matchers": [{"name": "alertname", "value": ".+", "isRegex": True}],
        "startsAt": _moment(0),
        "endsAt": _moment(3600),
        "createdBy": "a page",
        "comment": "x",
    }
)
ALERTS = json.dumps([{"labels": {"alertname": "Forged"}}])
OVERRIDES = json.dumps({"forwarders": []})

# What shows anything, or does anything, where nobody asks who comes.
READING = [
    *(
        Attack(server="prometheus", path=path)
        for path in (
            "/",
            "/query",
            "/metrics",
            "/-/ready",
            "/-/healthy",
            "/config",
            "/federate?match[]=up",
            "/user/runbook.html",
            "/debug/pprof/cmdline",
            "/api/v1/query?query=up",
            "/api/v1/label/__name__/values",
            "/api/v1/status/config",
            "/api/v1/status/flags",
            "/api/v1/targets",
            "/api/v1/rules",
            "/api/v1/notifications/live",
        )
    ),
    *(
        Attack(server="alertmanager", path=path)
        for path in (
            "/",
            "/metrics",
            "/-/ready",
            "/-/healthy",
            "/debug/pprof/cmdline",
            "/api/v2/status",
            "/api/v2/alerts",
            "/api/v2/silences",
        )
    ),
    *(
        Attack(server="tempo_http", path=path)
        for path in (
            "/",
            "/ready",
            "/metrics",
            "/status",
            "/status/config",
            "/status/services",
            "/status/overrides",
            "/memberlist",
            "/ingester/ring",
            "/distributor/ring",
            "/usage_metrics",
            "/debug/pprof/cmdline",
            "/api/echo",
            "/api/search",
            "/api/search/tags",
            "/api/status/buildinfo",
            "/api/status/usage-stats",
            "/api/overrides",
            f"/api/traces/{TRACE}",
            f"/querier/api/traces/{TRACE}",
        )
    ),
    Attack(server="tempo_otlp_http", path="/"),
    Attack(server="tempo_grpc", path="/"),
    Attack(server="collector_health", path="/"),
    Attack(server="collector_otlp_http", path="/"),
    Attack(server="collector_otlp_grpc", path="/"),
]
DOING = [
    *(
        Attack(server="tempo_http", path=path, method=method)
        for path in ("/shutdown", "/flush", "//shutdown", "/api/../shutdown", "/%73hutdown")
        for method in ("GET", "POST")
    ),
    *(
        Attack(server=server, path=path, method="POST", content=content, body=body)
        for server, path, body in (
            ("alertmanager", "/api/v2/silences", SILENCE),
            ("alertmanager", "/api/v2/alerts", ALERTS),
            ("alertmanager", "/-/reload", ""),
            ("prometheus", "/-/reload", ""),
            ("prometheus", "/-/quit", ""),
            ("prometheus", "/api/v1/query", "query=up"),
            ("prometheus", "/api/v1/write", "x"),
            ("prometheus", "/api/v1/read", "x"),
            ("prometheus", "/api/v1/admin/tsdb/delete_series?match[]=up", ""),
            ("prometheus", "/api/v1/otlp/v1/metrics", METRICS),
            ("tempo_http", "/api/overrides", OVERRIDES),
            ("tempo_otlp_http", "/v1/traces", SPANS),
            ("collector_otlp_http", "/v1/traces", SPANS),
            ("collector_otlp_http", "/v1/metrics", METRICS),
            ("collector_otlp_http", "/v1/logs", LOGS),
        )
        for content in (JSON, TEXT, FORM, PROTOBUF)
    ),
    *(
        Attack(
            server=server,
            path="/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            method="POST",
            content=content,
            body=SPANS,
        )
        for server in ("collector_otlp_grpc", "tempo_grpc")
        for content in (JSON, TEXT, GRPC)
    ),
    Attack(server="alertmanager", path=f"/api/v2/silence/{TRACE}", method="DELETE"),
    Attack(server="tempo_http", path="/api/overrides", method="DELETE"),
    # What is guessed is not known.
    *(
        replace(one, headers={"Authorization": "Basic b3JjaHdhdGNoOm9yY2h3YXRjaA=="})
        for one in (
            Attack(server="prometheus", path="/api/v1/query?query=up"),
            Attack(
                server="alertmanager",
                path="/api/v2/silences",
                method="POST",
                content=JSON,
                body=SILENCE,
            ),
            Attack(
                server="collector_otlp_http",
                path="/v1/traces",
                method="POST",
                content=JSON,
                body=SPANS,
            ),
        )
    ),
]
ATTACKS = [*READING, *DOING]


def _request(one: Attack, origin: str, mode: str) -> dict[str, Any]:
    headers = dict(one.headers) if mode != "no-cors" else {}
    if one.content:
        # All that a page may send to another origin without asking first.
        headers["Content-Type"] = one.content if mode != "no-cors" else TEXT
    return {
        "url": origin + one.path,
        "method": one.method if mode != "no-cors" or one.method != "DELETE" else "POST",
        "mode": mode,
        "headers": headers,
        "body": one.body,
    }


def _ask(browser: Chromium, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.evaluate(ASK % json.dumps(requests))
    return found


class Website(ThreadingHTTPServer):
    """A site of somebody's, which answers everything with a page and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Visit)
        self.came: list[tuple[str, str, bytes]] = []


class _Visit(BaseHTTPRequestHandler):
    server: Website

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.came.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    do_GET = do_POST = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def website() -> Iterator[Website]:
    with Website() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium"), EVIL, REBOUND) as found:
        yield found


@pytest.fixture
def untouched(stack: Stack) -> Iterator[None]:
    """Holds the servers to what they were before: all run, and nothing came in."""
    before = stack.running()
    yield
    assert stack.running() == before
    with opened(f"{stack.alertmanager_url}/api/v2/silences") as answer:
        assert json.load(answer) == []
    with opened(f"{stack.alertmanager_url}/api/v2/alerts?filter=alertname=Forged") as answer:
        assert json.load(answer) == []
    # It takes no span any more when it is told to shut down.
    assert _goes_through(stack)
    assert stored(stack, TRACE) == []
    assert samples(stack, "forged") == []


def _goes_through(stack: Stack) -> bool:
    """Whether a span that is sent with the password arrives in Tempo."""
    trace = secrets.token_hex(16)
    request = urllib.request.Request(
        f"{stack.otlp_http_url}/v1/traces",
        SPANS.replace(TRACE, trace).encode(),
        {"Content-Type": JSON},
    )
    opened(request).close()
    return bool(eventually(lambda: stored(stack, trace)))


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("host", [HOST, "localhost", "0.0.0.0", "[::1]"])
def test_a_page_of_another_origin_reads_nothing_and_does_nothing(
    stack: Stack, browser: Chromium, host: str
) -> None:
    with website() as site:
        browser.open(f"http://{EVIL}:{site.server_port}/")
        for mode in ("cors", "no-cors"):
            requests = [
                _request(one, f"http://{host}:{stack.ports.numbers()[one.server]}", mode)
                for one in ATTACKS
            ]
            for one, answer in zip(ATTACKS, _ask(browser, requests), strict=True):
                # An opaque answer is one that the page can neither read nor tell from any other.
                assert (
                    answer["kind"] in {"cors": {"error"}, "no-cors": {"opaque", "error"}}[mode]
                ), one
                assert (answer["status"] or 0, answer["text"]) == (0, ""), one


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("server", sorted({one.server for one in ATTACKS}))
def test_a_page_whose_name_now_leads_here_is_refused(
    stack: Stack, browser: Chromium, server: str
) -> None:
    origin = f"http://{REBOUND}:{stack.ports.numbers()[server]}"
    browser.open(f"{origin}/page.html", delivered=PAGE)
    attacks = [one for one in ATTACKS if one.server == server]
    secret = {stack.password, stack.secret_path.strip("/")}
    requests = [_request(one, origin, "same-origin") for one in attacks]
    for one, answer in zip(attacks, _ask(browser, requests), strict=True):
        if server.endswith("grpc"):
            # It says nothing that a browser takes for an answer.
            assert answer["kind"] == "error", (str(one), answer)
        else:
            assert answer["status"] in _refusals(one), (str(one), answer)
        assert not any(one in answer["text"] for one in secret)


def _refusals(one: Attack) -> set[int]:
    if one.server == "collector_otlp_http" and one.content in {TEXT, FORM}:
        # It does not know how to say 401 in these.
        return {401, 500}
    return REFUSED


@pytest.mark.usefixtures("untouched")
def test_what_needs_no_script_does_nothing_either(stack: Stack, browser: Chromium) -> None:
    numbers = stack.ports.numbers()
    with website() as site:
        browser.open(f"http://{EVIL}:{site.server_port}/")
        for one in ATTACKS:
            url = f"http://{HOST}:{numbers[one.server]}{one.path}"
            browser.evaluate(
                f"""(async (url, body) => {{
                    const done = (element) => new Promise((resolve) => {{
                        element.onload = element.onerror = resolve;
                        setTimeout(resolve, 500);
                        document.body.append(element);
                    }});
                    if (body === null) {{
                        await Promise.all(["img", "script", "iframe"].map((name) =>
                            done(Object.assign(document.createElement(name), {{src: url}}))));
                        return;
                    }}
                    const frame = Object.assign(document.createElement("iframe"), {{name: "f"}});
                    const form = Object.assign(document.createElement("form"), {{
                        action: url, method: "POST", enctype: "text/plain", target: "f"}});
                    // A form writes `name=value`; this is JSON, with something nobody reads.
                    form.append(Object.assign(document.createElement("input"), {{
                        name: body.slice(0, -1) + ',"x":"', value: '"}}'}}));
                    document.body.append(form);
                    const loaded = done(frame);
                    form.submit();
                    await loaded;
                    form.remove();
                    frame.remove();
                }})({json.dumps(url)}, {json.dumps(one.body)})"""
            )


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("server", sorted({one.server for one in ATTACKS}))
def test_no_server_opens_a_web_socket(stack: Stack, browser: Chromium, server: str) -> None:
    port = stack.ports.numbers()[server]
    with website() as site:
        browser.open(f"http://{EVIL}:{site.server_port}/")
        opened_one = browser.evaluate(WEB_SOCKET % json.dumps(f"ws://{HOST}:{port}/"))
    assert opened_one is False


@pytest.mark.usefixtures("untouched")
def test_a_page_gains_nothing_from_a_user_who_has_logged_in(
    stack: Stack, browser: Chromium
) -> None:
    logins = {
        "prometheus": stack.prometheus_url + "/api/v1/query?query=up",
        "alertmanager": stack.alertmanager_url + "/api/v2/status",
    }
    for server, url in logins.items():
        browser.open(url, login=("orchwatch", stack.password))
        # From then on the browser shows it unasked.
        browser.open(url)
        assert '"' in browser.evaluate("document.body.innerText"), server
    with website() as site:
        browser.open(f"http://{EVIL}:{site.server_port}/")
        for mode in ("cors", "no-cors"):
            attacks = [one for one in ATTACKS if one.server in logins]
            requests = [
                _request(one, f"http://{HOST}:{stack.ports.numbers()[one.server]}", mode)
                for one in attacks
            ]
            for one, answer in zip(attacks, _ask(browser, requests), strict=True):
                assert (answer["status"] or 0, answer["text"]) == (0, ""), one


def test_the_same_requests_come_through_without_a_password(browser: Chromium) -> None:
    with website() as site, website() as careless:
        browser.open(f"http://{EVIL}:{site.server_port}/")
        there = f"http://{HOST}:{careless.server_port}"
        _ask(browser, [_request(one, there, "no-cors") for one in ATTACKS])
        sent = {(method, path, body) for method, path, body in careless.came}
        assert ("GET", "/shutdown", b"") in sent
        assert ("POST", "/v1/traces", SPANS.encode()) in sent
        careless.came.clear()

        browser.open(f"http://{REBOUND}:{careless.server_port}/page.html", delivered=PAGE)
        here = f"http://{REBOUND}:{careless.server_port}"
        answers = _ask(browser, [_request(one, here, "same-origin") for one in ATTACKS])
        assert {answer["status"] for answer in answers} == {200}
        assert len([path for _, path, _ in careless.came if path != "/favicon.ico"]) == len(ATTACKS)


def test_who_shows_the_password_does_what_the_page_could_not(stack: Stack) -> None:
    def answered(one: Attack, *, shown: bool) -> int:
        url = f"http://{HOST}:{stack.ports.numbers()[one.server]}{one.path}"
        body = None if one.body is None else one.body.encode()
        headers = {"Content-Type": one.content} if one.content else {}
        request = urllib.request.Request(url, body, headers, method=one.method)
        try:
            with opened(request) if shown else urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    done = [
        one
        for one in DOING
        if one.content == JSON
        and not one.headers
        and one.path.endswith(("/silences", "/alerts", "/v1/metrics", "/v1/logs", "/v1/traces"))
        and one.server != "tempo_otlp_http"
    ]
    assert {one.server for one in done} == {"alertmanager", "collector_otlp_http", "prometheus"}
    for one in done:
        assert answered(one, shown=False) == 401, one
        assert answered(one, shown=True) in {200, 204}, one
    assert get(f"{stack.tempo_url}/api/status/buildinfo")
    # Nobody can do this, whatever he knows.
    with pytest.raises(urllib.error.HTTPError, match="404"):
        opened(f"{stack.tempo_url}/shutdown")


def test_every_port_of_the_stack_is_attacked(stack: Stack) -> None:
    """The monitor's own port has its own tests."""
    assert {one.server for one in ATTACKS} | {"monitor"} == stack.ports.numbers().keys()
    listening = set()
    for pid in stack.running().values():
        listening |= _ports_of(pid)
    assert listening <= set(stack.ports.numbers().values())


def _ports_of(pid: int) -> set[int]:
    """Where a process listens, on whatever address."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(link.readlink().name)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found
