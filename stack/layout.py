"""Where the servers of one stack listen, and what they keep where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from package import files
from ports import HOST

if TYPE_CHECKING:
    from ports import Ports

USER: Final = "orchwatch"
_MAX_BYTES: Final = 4096


class Layout:
    """Addresses and paths of the stack of one home directory.

    Attributes:
        home: What `ORCHWATCH_HOME` is to the stack.
        ports: Where the servers listen.
    """

    def __init__(self, home: Path, ports: Ports) -> None:
        self.home = home
        self.ports = ports

    @property
    def spool(self) -> Path:
        """The directory whose `operations-*.jsonl` and other segments the Collector follows."""
        return self.home / "spool"

    @property
    def prometheus_url(self) -> str:
        """The root of Prometheus' HTTP API."""
        return f"http://{HOST}:{self.ports.prometheus}"

    @property
    def alertmanager_url(self) -> str:
        """The root of Alertmanager's page and HTTP API."""
        return f"http://{HOST}:{self.ports.alertmanager}"

    @property
    def tempo_url(self) -> str:
        """The root of Tempo's HTTP API, with the secret path."""
        return f"http://{HOST}:{self.ports.tempo_http}{self.secret_path}"

    @property
    def otlp_http_url(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with protocol `http/protobuf` or `http/json`."""
        return f"http://{HOST}:{self.ports.collector_otlp_http}"

    @property
    def otlp_grpc_url(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT` with protocol `grpc`."""
        return f"http://{HOST}:{self.ports.collector_otlp_grpc}"

    @property
    def health_url(self) -> str:
        """Answers 200 while the Collector's pipelines run."""
        return f"http://{HOST}:{self.ports.collector_health}{self.secret_path}"

    @property
    def access(self) -> Path:
        """Where `orchwatch.recording.stack_access` keeps what the servers want to be shown."""
        return self.home / "stack" / "access"

    @property
    def otlp_headers(self) -> str:
        """For `OTEL_EXPORTER_OTLP_HEADERS`, beside `otlp_http_url`."""
        return files.read(self.access / "otlp-headers", _MAX_BYTES).decode().strip()

    @property
    def password(self) -> str:
        """What Prometheus and Alertmanager ask `USER` for."""
        return files.read(self.access / "password", _MAX_BYTES).decode().strip()

    @property
    def secret_path(self) -> str:
        """What the paths of Tempo and of the Collector's health check begin with."""
        return files.read(self.access / "path", _MAX_BYTES).decode()

    @property
    def authorization(self) -> str:
        """The header that the other servers want to be shown."""
        return files.read(self.access / "authorization", _MAX_BYTES).decode()

    def data(self, component: str) -> Path:
        """The directory that a component keeps its data in."""
        return self.home / "stack" / component

    def log(self, component: str) -> Path:
        """The file that holds what a component printed."""
        return self.home / "stack" / f"{component}.log"


def default_home() -> Path:
    """`ORCHWATCH_HOME`, else the XDG state directory."""
    home = os.environ.get("ORCHWATCH_HOME")
    if home:
        return Path(home).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "orchwatch"
