"""A fleet on loopback: agents with homes of their own, and a gateway with TLS and tokens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import build
from native import HOST, Ports
from orchwatch.diagnosis.fleet import tokens

if TYPE_CHECKING:
    from native import Stack

CONFIGS = Path(build.ROOT) / "collector"
READY_WITHIN_S = 60.0
# A program that records; the durations are real, and short.
PROGRAM = """
    import sys
    from orchwatch import operation
    for number in range(int(sys.argv[1])):
        try:
            with operation("state.query"):
                if number % 10 == 0:
                    raise TimeoutError
        except TimeoutError:
            pass
"""


def otelcol() -> str:
    return str(build.binaries(build.SERVERS)["otelcol"])


class _Process:
    """One Collector that is stopped and started."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.ports = Ports.free()
        self.log = home / "collector.log"
        self._child: subprocess.Popen[bytes] | None = None

    def health_url(self) -> str:
        return f"http://{HOST}:{self.ports.collector_health}"

    def _spawn(self, words: list[str], environment: dict[str, str]) -> None:
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                words, cwd=self.home, env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                urllib.request.urlopen(self.health_url(), timeout=1).close()
                return
            except OSError:
                assert self._child.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait()
            self._child = None


class Gateway(_Process):
    """collector/gateway.yaml in front of a stack's Prometheus and Tempo."""

    def __init__(self, home: Path, stack: Stack, name: str = "gateway") -> None:
        super().__init__(home)
        self.stack = stack
        self.name = name
        self.tokens = str(home / "tokens")
        self.certificate = home / "tls" / "tls.crt"
        make_certificate(home / "tls")
        tokens.add(self.tokens, "nobody")

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.ports.collector_otlp_http}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "ORCHWATCH_GATEWAY_ID": self.name,
            "ORCHWATCH_GATEWAY_HOST": HOST,
            "ORCHWATCH_GATEWAY_PORT": str(self.ports.collector_otlp_http),
            "ORCHWATCH_GATEWAY_OWN_PORT": str(self.ports.collector_otlp_grpc),
            "ORCHWATCH_GATEWAY_HEALTH_PORT": str(self.ports.collector_health),
            "ORCHWATCH_GATEWAY_TLS_DIR": "tls",
            "ORCHWATCH_GATEWAY_TOKENS": "tokens",
            "ORCHWATCH_GATEWAY_STATE_DIR": "state",
            "ORCHWATCH_ACCESS_DIR": str(self.stack.access),
            "ORCHWATCH_PROMETHEUS_URL": self.stack.prometheus_url,
            "ORCHWATCH_TEMPO_OTLP_URL": f"http://{HOST}:{self.stack.ports.tempo_otlp_http}",
        }
        words = [otelcol(), f"--config={CONFIGS / 'gateway.yaml'}"]
        self._spawn(words, environment)


class Machine(_Process):
    """A home of its own, and the agent that follows its spool."""

    def environment(self) -> dict[str, str]:
        inherited = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("ORCHWATCH_", "OTEL_", "TRACEPARENT", "BAGGAGE"))
        }
        return {
            **inherited,
            **self.ports.environment(),
            "ORCHWATCH_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
        }

    def orchwatch(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self._orchwatch(self.environment(), *words, stdin=stdin)

    def _orchwatch(
        self, environment: dict[str, str], *words: str, stdin: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchwatch.cli", *words],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def join(self, gateway: Gateway, token: str, *more: str) -> None:
        words = ("fleet", "join", gateway.url, "--ca", str(gateway.certificate))
        done = self.orchwatch(*words, "--token-file", "-", *more, stdin=token)
        assert (done.returncode, done.stderr) == (0, ""), done

    def start(self) -> None:
        words = [sys.executable, "-m", "orchwatch.cli", "fleet", "run", "--collector", otelcol()]
        self._spawn(words, self.environment())

    def health_url(self) -> str:
        # Made by what is started.
        secret = (self.home / "stack" / "access" / "path").read_text()
        return super().health_url() + secret

    def ask(self, gateway: Gateway, token: str) -> subprocess.CompletedProcess[str]:
        """Joins from a home of its own, which stays as it is where the gateway refuses."""
        words = ("fleet", "join", gateway.url, "--ca", str(gateway.certificate))
        environment = {**self.environment(), "ORCHWATCH_HOME": str(self.home / "asking")}
        return self._orchwatch(environment, *words, "--token-file", "-", stdin=token)

    def dropped(self, signal_: str, at_least: int) -> bool:
        """Whether the agent says that it dropped so many items of `traces` or `metrics`."""
        lines = [line for line in self.log.read_text().splitlines() if "Dropping data" in line]
        numbers = [
            int(found[1])
            for line in lines
            if f'"otelcol.signal": "{signal_}"' in line
            and (found := re.search(r'"dropped_items": (\d+)', line))
        ]
        return sum(numbers) >= at_least

    def record(self, service: str, number: int) -> None:
        self.run_program(service, PROGRAM, str(number))

    def run_program(self, service: str, code: str, *words: str) -> None:
        environment = {**self.environment(), "ORCHWATCH_SERVICE_NAME": service}
        subprocess.run([sys.executable, "-c", dedent(code), *words], env=environment, check=True)


def make_certificate(directory: Path) -> None:
    """A certificate for loopback that is its own authority."""
    directory.mkdir(parents=True)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=gateway"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", f"subjectAltName=IP:{HOST}"),
            *("-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")),
        ],
        check=True,
        capture_output=True,
    )
