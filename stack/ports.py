"""The ports of one stack; each has a variable.

| variable                             | default | who listens                                 |
|--------------------------------------|---------|---------------------------------------------|
| `ORCHWATCH_COLLECTOR_OTLP_GRPC_PORT` | 4317    | Collector: OTLP over gRPC                   |
| `ORCHWATCH_COLLECTOR_OTLP_HTTP_PORT` | 4318    | Collector: OTLP over HTTP                   |
| `ORCHWATCH_COLLECTOR_HEALTH_PORT`    | 13133   | Collector: health check                     |
| `ORCHWATCH_PROMETHEUS_PORT`          | 9090    | Prometheus: queries and OTLP metrics        |
| `ORCHWATCH_ALERTMANAGER_PORT`        | 9093    | Alertmanager: its page, alerts              |
| `ORCHWATCH_TEMPO_HTTP_PORT`          | 3200    | Tempo: queries                              |
| `ORCHWATCH_TEMPO_GRPC_PORT`          | 9095    | Tempo: between its own parts                |
| `ORCHWATCH_TEMPO_OTLP_HTTP_PORT`     | 4418    | Tempo: OTLP over HTTP, from the Collector   |
| `ORCHWATCH_MONITOR_PORT`             | 7319    | `orchwatch monitor`: hooks, alerts          |
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build import StackError

HOST: Final = "127.0.0.1"

_LAST_PORT: Final = 65535
_CLIENT_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_FREE_PORT: Final = 20_000
_ENOUGH_PORTS: Final = 5_000
# One name for each block of ports that was handed out; the system frees it when the process ends.
_claims: Final[list[socket.socket]] = []


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of one stack on loopback; field `x_y` is variable `ORCHWATCH_X_Y_PORT`."""

    collector_otlp_grpc: int = 4317
    collector_otlp_http: int = 4318
    collector_health: int = 13133
    prometheus: int = 9090
    alertmanager: int = 9093
    tempo_http: int = 3200
    tempo_grpc: int = 9095
    tempo_otlp_http: int = 4418
    monitor: int = 7319

    @classmethod
    def from_environment(cls) -> Ports:
        """The defaults, overridden by the variables that are set.

        Raises:
            StackError: A variable holds no port number, or two hold the same.
        """
        chosen: dict[str, int] = {}
        for field in dataclasses.fields(cls):
            value = os.environ.get(variable_of(field.name))
            if not value:
                continue
            if not value.isascii() or not value.isdigit() or not 0 < int(value) <= _LAST_PORT:
                raise StackError(f"{variable_of(field.name)}={value}: not a port number")
            chosen[field.name] = int(value)
        ports = cls(**chosen)
        ports._refuse_shared()
        return ports

    @classmethod
    def free(cls) -> Ports:
        """Ports that no process listens on and no other call was given, for tests.

        They stay this process' own until it ends: its servers come later, and stop and start.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        # Below the ports that clients are given, where that is enough: one of those could be taken
        # by a client while its server is stopped.
        clients_from = int(_CLIENT_PORTS.read_text().split()[0])
        end = clients_from if clients_from > _FIRST_FREE_PORT + _ENOUGH_PORTS else _LAST_PORT
        while True:
            first = random.randrange(_FIRST_FREE_PORT, end - len(names), len(names))  # noqa: S311
            numbers = range(first, first + len(names))
            with contextlib.suppress(OSError), contextlib.ExitStack() as listening:
                claim = listening.enter_context(socket.socket(socket.AF_UNIX))
                claim.bind(f"\0orchwatch ports from {first}")
                for number in numbers:
                    listening.enter_context(socket.create_server((HOST, number)))
                _claims.append(claim.dup())
                return cls(**dict(zip(names, numbers, strict=True)))

    def _refuse_shared(self) -> None:
        """Who comes second would take the first one's answers for its own."""
        users: dict[int, str] = {}
        for name, port in self.numbers().items():
            other = users.setdefault(port, name)
            if other != name:
                raise StackError(
                    f"{variable_of(other)} and {variable_of(name)} are both {port}: "
                    "set one of them to another port"
                )

    def environment(self) -> dict[str, str]:
        """The variables as the configs read them."""
        return {variable_of(name): str(port) for name, port in self.numbers().items()}

    def numbers(self) -> dict[str, int]:
        """The ports by field name."""
        return dataclasses.asdict(self)


def variable_of(field: str) -> str:
    """The environment variable of a field of `Ports`."""
    return f"ORCHWATCH_{field.upper()}_PORT"
