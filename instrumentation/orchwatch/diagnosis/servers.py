"""The stack's servers: where each should be, and whether it is configured to run."""

from __future__ import annotations

import os
from dataclasses import dataclass

from orchwatch.diagnosis import native_stack
from orchwatch.recording import stack_access

# An ended operation is to be visible in Prometheus and Tempo after this long.
VISIBLE_AFTER_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server of the stack, and where it should be.

    Attributes:
        title: What a person calls it.
        url: The root of its HTTP interface, with the secret path where it has one.
        ready_path: Responds with 200 when it is ready.
        version_path: Responds with its version; empty where no path does.
        variable: The environment variable that says where it is.
        expected: Whether it should run: its variable is set, or the native stack is up.
        version: Its version as the native stack knows it; most builds report it themselves.
        log: Where the native stack writes its log; empty where something else runs it.
    """

    title: str
    url: str
    ready_path: str
    version_path: str
    variable: str
    expected: bool
    version: str
    log: str

    @property
    def address(self) -> str:
        """The root of its HTTP interface as a person may see it."""
        return stack_access.without_secret(self.url)


# Servers that require no password.
_BELOW_PATH = ("Collector", "Tempo")
# Title, native component's port as stack/native.py names it, its default, paths, variable.
_SERVERS = (
    ("Collector", "collector_health", 13133, "", "", "ORCHWATCH_COLLECTOR_HEALTH_URL"),
    (
        "Prometheus",
        "prometheus",
        9090,
        "/-/ready",
        "/api/v1/status/buildinfo",
        "ORCHWATCH_PROMETHEUS_URL",
    ),
    (
        "Tempo",
        "tempo_http",
        3200,
        # Its `/ready` is out of reach, see tempo/tempo.yaml.
        "/api/search?limit=1",
        "/api/status/buildinfo",
        "ORCHWATCH_TEMPO_URL",
    ),
    (
        "Alertmanager",
        "alertmanager",
        9093,
        "/-/ready",
        "/api/v2/status",
        "ORCHWATCH_ALERTMANAGER_URL",
    ),
)


def servers() -> list[Server]:
    """Where they are: by their variables, else where the native stack runs, else defaults."""
    ports, versions = native_stack.find()
    found = []
    for title, port_name, default_port, ready_path, version_path, variable in _SERVERS:
        explicit = os.environ.get(variable, "").rstrip("/")
        port = os.environ.get(f"ORCHWATCH_{port_name.upper()}_PORT") or default_port
        url = explicit or f"http://127.0.0.1:{ports.get(port_name, port)}"
        found.append(
            Server(
                title=title,
                url=stack_access.below_path(url) if title in _BELOW_PATH else url,
                ready_path=ready_path,
                version_path=version_path,
                variable=variable,
                expected=bool(explicit or versions),
                version="" if explicit else versions.get(title.lower(), ""),
                log=native_stack.log(title) if versions and not explicit else "",
            )
        )
    return found
