"""The stack's servers as seen from here: do they answer, are they up to date?"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orchwatch import semconv, units
from orchwatch.diagnosis import client, native_stack
from orchwatch.diagnosis.check import Check
from orchwatch.diagnosis.servers import VISIBLE_AFTER_S, servers
from orchwatch.diagnosis.silences import check_silences
from orchwatch.recording import stack_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchwatch.diagnosis.check import State
    from orchwatch.diagnosis.servers import Server
    from orchwatch.diagnosis.spool_health import NewestOperation

TIMEOUT_S = 1.0
# A stack that has just come up may still be reading what was recorded before.
_CATCH_UP_S = 5.0
_POLL_INTERVAL_S = 0.25
_DAY_S = 86_400.0

# Errors of a response that is malformed, or of another program.
_NO_ANSWER = (http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError)

# Always fires, see `orchwatch.mixin.alerts.pipeline`: where it has arrived, the others will.
_WATCHDOG = "Watchdog"


def check_servers(newest: NewestOperation | None) -> Iterator[Check]:
    """Whether each answers, its version, and whether the operation that it is judged by is there.

    All are asked at once, each for at most `TIMEOUT_S` a question; what should have arrived and has
    not is asked for again for a few seconds.
    """
    known = servers()
    _, prometheus, tempo, alertmanager = known
    with ThreadPoolExecutor(max_workers=len(known) + 2) as pool:
        reached = [pool.submit(_check_reachable, server) for server in known]
        in_prometheus = pool.submit(_arrived, _counted, prometheus, newest)
        in_tempo = pool.submit(_arrived, _holds, tempo, newest)
        *checks, alerts = [future.result() for future in reached]
        yield from checks
        yield _check_alerts(alerts, alertmanager) if alerts.state == "ok" else alerts
        if alerts.state == "ok":
            yield from _check_silences(alertmanager, prometheus)
        if newest is None:
            return
        if checks[1].state == "ok":
            yield _check_fresh(prometheus, newest, arrived=in_prometheus.result())
        if checks[2].state == "ok":
            yield _check_fresh(tempo, newest, arrived=in_tempo.result())


def _arrived(
    held: Callable[[Server, NewestOperation], bool], server: Server, newest: NewestOperation | None
) -> bool | None:
    """Whether a server holds that operation; None where it does not say."""
    if newest is None:
        return None
    until = time.monotonic() + _CATCH_UP_S
    while True:
        arrived: bool | None = _guarded(lambda: held(server, newest))
        too_young = time.time() - newest.end_s < VISIBLE_AFTER_S
        if arrived is not False or too_young or time.monotonic() >= until:
            return arrived
        time.sleep(_POLL_INTERVAL_S)


def _check_reachable(server: Server) -> Check:
    name = server.title
    bad: State = "fail" if server.expected else "warn"
    try:
        version = _identify(server)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return Check(
                name=name,
                state=bad,
                found=f"{server.address} does not take the password in {stack_access.directory()}",
                remedy="set ORCHWATCH_HOME to the home that it was started for",
            )
        return Check(
            name=name,
            state=bad,
            found=f"{server.address}{server.ready_path} answers {error.code}: it is not ready",
            remedy=f"wait a moment; if it stays so, see {server.log or 'its log'}",
        )
    except _ForeignError:
        return Check(
            name=name,
            state=bad,
            found=f"the server at {server.address} is not {name}",
            remedy=f"stop it, or say with {server.variable} where {name} is",
        )
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not server.expected:
            return Check(
                name=name,
                state="unknown",
                found=f"no server answers at {server.address}; local answers need none",
                remedy=f"{native_stack.start()} starts it, {server.variable} says where it is",
            )
        return Check(
            name=name,
            state="fail",
            found=f"does not answer at {server.address}: {reason}",
            remedy=f"make up starts it again; see {native_stack.log(name)}",
        )
    return Check(
        name=name,
        state="ok",
        found=f"{server.address} is ready" + (f", version {version}" if version else ""),
    )


def _check_alerts(ready: Check, alertmanager: Server) -> Check:
    """Whether Alertmanager, which is ready, gets what fires in Prometheus."""
    arrived = _guarded(lambda: _gets_alerts(alertmanager))
    if arrived is None:
        return ready
    if arrived:
        return replace(ready, found=f"{ready.found}, and gets Prometheus' alerts")
    return replace(
        ready,
        state="warn",
        found=f"{ready.found}, but Prometheus sends it no alerts",
        remedy="half a minute after a start it does; if not, make down and make up",
    )


def _check_silences(alertmanager: Server, prometheus: Server) -> Iterator[Check]:
    """Nothing where Alertmanager does not say."""
    found = _guarded(lambda: check_silences(alertmanager, prometheus, timeout_s=TIMEOUT_S))
    if found is not None:
        yield found


def _check_fresh(server: Server, newest: NewestOperation, *, arrived: bool | None) -> Check:
    name = f"{server.title} is fresh"
    age = units.age(time.time() - newest.end_s)
    if arrived:
        return Check(name=name, state="ok", found=f"it has what ended {age} ago")
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
        found=f"an operation that ended {age} ago has not arrived",
        remedy="see whether the Collector follows this ORCHWATCH_HOME; orchwatch audit counts what"
        " is missing, and orchwatch audit --resend sends the spans that Tempo lacks again",
    )


def _identify(server: Server) -> str:
    """The version of a server that is ready; empty where it does not say.

    Raises:
        urllib.error.HTTPError: It is not ready.
        _ForeignError: Something else answers.
        OSError: Nothing answers.
    """
    try:
        ready = _get(server.url + server.ready_path)
        if server.version_path:
            return _version(server) or server.version
        json.loads(ready)["status"]
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        raise _ForeignError from error
    except OSError:
        raise
    except _NO_ANSWER as error:
        raise _ForeignError from error
    return server.version


def _version(server: Server) -> str:
    try:
        answer = json.loads(_get(server.url + server.version_path))
    except OSError as error:
        if getattr(error, "code", None) == HTTPStatus.NOT_FOUND:
            raise
        return ""
    # Prometheus wraps it, and so does Alertmanager, in its own way.
    return str(answer.get("data", answer.get("versionInfo", answer))["version"])


class _ForeignError(Exception):
    """Something else than the server answers at its address."""


def _counted(server: Server, newest: NewestOperation) -> bool:
    """Whether Prometheus got an operation that late: exemplars come with counted spans."""
    metric = semconv.OPERATION_DURATION.replace(".", "_") + "_seconds_bucket"
    now_s = time.time()
    start_s = min(newest.end_s, now_s - _DAY_S)
    query = urllib.parse.urlencode(
        {"query": metric, "start": f"{start_s:.3f}", "end": f"{now_s:.3f}"}
    )
    answer = json.loads(_get(f"{server.url}/api/v1/query_exemplars?{query}"))
    return any(
        float(exemplar["timestamp"]) >= newest.end_s
        for series in answer["data"]
        for exemplar in series["exemplars"]
    )


def _gets_alerts(alertmanager: Server) -> bool:
    query = urllib.parse.urlencode({"filter": f"alertname={_WATCHDOG}"})
    return bool(json.loads(_get(f"{alertmanager.url}/api/v2/alerts?{query}")))


def _holds(server: Server, newest: NewestOperation) -> bool:
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
    except (OSError, *_NO_ANSWER):
        return None


def _get(url: str) -> bytes:
    return client.read(url, timeout_s=TIMEOUT_S)
