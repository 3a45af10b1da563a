"""The Collector, Prometheus and Tempo as seen from here: do they answer, are they up to date?"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import names
from orchwatch.home import home
from orchwatch.monitor.check import Check
from orchwatch.monitor.spool_health import format_age

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchwatch.monitor.spool_health import Newest

TIMEOUT_S = 1.0
# An ended operation is to be visible in Prometheus and Tempo after this long.
VISIBLE_AFTER_S = 15.0
_DAY_S = 86_400.0

# Loopback needs no proxy, whatever the shell says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Server:
    """One of the three, and where it should be.

    Attributes:
        title: What a person calls it.
        url: The root of its HTTP interface.
        ready_path: Answers 200 when it is ready.
        version_path: Answers with its version; empty where it does not tell.
        variable: The environment variable that says where it is.
        expected: Somebody said that it runs: that variable is set, or the native stack is up.
        version: As far as the native stack tells; most builds tell it themselves.
    """

    title: str
    url: str
    ready_path: str
    version_path: str
    variable: str
    expected: bool
    version: str


# Title, native component's port as stack/native.py names it, its default, paths, variable.
_SERVERS = (
    ("Collector", "collector_health", 13133, "/", "", "ORCHWATCH_COLLECTOR_HEALTH_URL"),
    (
        "Prometheus",
        "prometheus",
        9090,
        "/-/ready",
        "/api/v1/status/buildinfo",
        "ORCHWATCH_PROMETHEUS_URL",
    ),
    ("Tempo", "tempo_http", 3200, "/ready", "/api/status/buildinfo", "ORCHWATCH_TEMPO_URL"),
)


def servers() -> list[Server]:
    """Where the three are: by their variables, else where the native stack runs, else defaults."""
    ports, versions = _native_stack()
    found = []
    for title, port_name, default_port, ready_path, version_path, variable in _SERVERS:
        explicit = os.environ.get(variable, "").rstrip("/")
        port = os.environ.get(f"ORCHWATCH_{port_name.upper()}_PORT") or default_port
        found.append(
            Server(
                title=title,
                url=explicit or f"http://127.0.0.1:{ports.get(port_name, port)}",
                ready_path=ready_path,
                version_path=version_path,
                variable=variable,
                expected=bool(explicit or versions),
                version="" if explicit else versions.get(title.lower(), ""),
            )
        )
    return found


def check_servers(newest: Newest | None) -> Iterator[Check]:
    """Whether each answers, its version, and whether the newest operation has arrived.

    All are asked at once, each for at most `TIMEOUT_S` a question.
    """
    known = servers()
    _, prometheus, tempo = known
    with ThreadPoolExecutor(max_workers=len(known) + 2) as pool:
        reached = [pool.submit(_check_reachable, server) for server in known]
        in_prometheus = pool.submit(_guarded, lambda: _counted_until(prometheus))
        in_tempo = pool.submit(_guarded, lambda: newest is not None and _holds(tempo, newest))
        checks = [future.result() for future in reached]
        yield from checks
        if newest is None:
            return
        if checks[1].state == "ok":
            counted_s = in_prometheus.result()
            arrived = None if counted_s is None else counted_s >= newest.end_s
            yield _check_fresh(prometheus, newest, arrived=arrived)
        if checks[2].state == "ok":
            yield _check_fresh(tempo, newest, arrived=in_tempo.result())


def _check_reachable(server: Server) -> Check:
    name = server.title
    try:
        _get(server.url + server.ready_path)
    except urllib.error.HTTPError as error:
        return Check(
            name=name,
            state="fail" if server.expected else "warn",
            found=f"{server.url}{server.ready_path} answers {error.code}: it is not ready",
            remedy="wait a moment; if it stays so, see its log",
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if not server.expected:
            return Check(
                name=name,
                state="unknown",
                found=f"nobody answers at {server.url}; local answers need no server",
                remedy=f"make up starts it, {server.variable} says where it is",
            )
        return Check(
            name=name,
            state="fail",
            found=f"does not answer at {server.url}: {reason}",
            remedy=f"make up starts it again; see {_log(server)}",
        )
    version = _guarded(lambda: _version(server)) or server.version
    return Check(
        name=name,
        state="ok",
        found=f"{server.url} is ready" + (f", version {version}" if version else ""),
    )


def _check_fresh(server: Server, newest: Newest, *, arrived: bool | None) -> Check:
    name = f"{server.title} is fresh"
    age = format_age(newest.end_s)
    if arrived:
        return Check(name=name, state="ok", found=f"it has the newest operation, {age} old")
    if arrived is None:
        return Check(name=name, state="unknown", found="it did not say what it holds")
    if time.time() - newest.end_s < VISIBLE_AFTER_S:
        return Check(
            name=name,
            state="unknown",
            found=f"the newest operation is {age} old and may still be on its way",
            remedy=f"ask again after {VISIBLE_AFTER_S:.0f} s",
        )
    return Check(
        name=name,
        state="fail" if server.expected else "warn",
        found=f"the newest operation ended {age} ago and has not arrived",
        remedy="see whether the Collector follows this ORCHWATCH_HOME; orchwatch audit says what is"
        " missing and sends it again",
    )


def _version(server: Server) -> str:
    if not server.version_path:
        return ""
    answer = json.loads(_get(server.url + server.version_path))
    return str(answer.get("data", answer)["version"])


def _counted_until(server: Server) -> float:
    """When Prometheus last got an operation, in Unix seconds: exemplars come with counted spans."""
    metric = names.OPERATION_DURATION.replace(".", "_") + "_seconds_bucket"
    now_s = time.time()
    query = urllib.parse.urlencode(
        {"query": metric, "start": f"{now_s - _DAY_S:.3f}", "end": f"{now_s:.3f}"}
    )
    answer = json.loads(_get(f"{server.url}/api/v1/query_exemplars?{query}"))
    return max(
        (
            float(exemplar["timestamp"])
            for series in answer["data"]
            for exemplar in series["exemplars"]
        ),
        default=0.0,
    )


def _holds(server: Server, newest: Newest) -> bool:
    try:
        _get(f"{server.url}/api/traces/{newest.trace_id}")
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return False
        raise
    return True


def _guarded(question: Callable[[], Any]) -> Any:
    """The answer, or None where the server gave none that can be understood."""
    try:
        return question()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _get(url: str) -> bytes:
    with _OPENER.open(url, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
    return content


def _native_stack() -> tuple[dict[str, int], dict[str, str]]:
    """The ports that `make up` chose, and the version of each of its servers that still runs."""
    try:
        state = json.loads((Path(home()) / "stack" / "state.json").read_text())
        versions = {
            component: _built_version(component, process["pid"])
            for component, process in state["processes"].items()
            if _runs(process["pid"], process["started"])
        }
        return (state["ports"] if versions else {}), versions
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, {}


def _runs(pid: int, started: str) -> bool:
    """Whether that very process runs: `started` is its start in clock ticks, `@` and the boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return False
    # Behind the command's name, which may hold anything: field 3 is the state, 22 the start.
    fields = stat.rpartition(")")[2].split()
    return fields[0] != "Z" and f"{fields[19]}@{boot}" == started


def _built_version(component: str, pid: int) -> str:
    """The version that `make stack` built: `<component>-<version>-<hash>/bin/<name>` runs."""
    directory = Path(f"/proc/{pid}/exe").readlink().parent.parent.name
    return directory.removeprefix(f"{component}-").rpartition("-")[0]


def _log(server: Server) -> str:
    return str(Path(home()) / "stack" / f"{server.title.lower()}.log")
