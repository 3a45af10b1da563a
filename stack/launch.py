"""How each server of a stack is started: command, environment, directory, what it reads there."""

from __future__ import annotations

import http.client
import os
import subprocess
import tomllib
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

from build import ROOT, StackError
from layout import Layout
from package import files
from ports import HOST, Ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# In the order of stopping: each can still hand over what it holds.
COMPONENTS: Final = ("collector", "prometheus", "alertmanager", "tempo")
# Follows the user's own sessions, so that only `up` starts it.
MONITOR: Final = "monitor"

_ORCHWATCH: Final = ROOT / ".venv" / "bin" / "orchwatch"
_PYTHON: Final = ROOT / ".venv" / "bin" / "python"
_PROMETHEUS_PAGE: Final = ROOT / "stack" / "static"
_ALERTS: Final = ROOT / "prometheus" / "rules" / "alerts.yml"
_ANSWERS_WITHIN_S: Final = 1.0
# How the monitor's answer begins when it has ceased to follow, see `orchwatch.monitor.heartbeat`.
_STUCK: Final = b"no round"
# What Tempo's heap is kept to; the same as in docker-compose.yml.
_TEMPO_MEMORY: Final = "800MiB"
# Loopback needs no proxy, whatever the shell says.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Which agents' sessions are read from files.
_MAPPING: Final = ROOT / "instrumentation" / "orchwatch" / "semconv" / "mapping.toml"
_COUNTED: Final = "ORCHWATCH_OTLP_COUNTED"
_INTERNAL: Final = "ORCHWATCH_OTLP_INTERNAL"
_ALERTMANAGER_CONFIG: Final = ROOT / "alertmanager" / "alertmanager.yml"


def check(component: str, binaries: Mapping[str, Path]) -> None:
    """Whether a component has what it needs.

    Raises:
        StackError: Its program is missing, or its config or a setting of it has a mistake.
    """
    if component == "collector":
        _refuse_settings()
    if component == MONITOR and not _ORCHWATCH.exists():
        raise StackError(f"{_ORCHWATCH} is missing (run `make setup`)")
    if component == "alertmanager":
        _refuse_config(_ALERTMANAGER_CONFIG, binaries["amtool"])


def _refuse_settings() -> None:
    """The Collector would take an agent's name that it does not know for nothing."""
    counted, internal = os.environ.get(_COUNTED, ""), os.environ.get(_INTERNAL, "")
    emitters = tomllib.loads(_MAPPING.read_text())["emitters"]
    known = [one["name"] for one in emitters if one.get("reader")]
    for name in counted.replace(",", " ").split():
        if name not in known:
            raise StackError(
                f"{_COUNTED}={counted}: {name} is no agent whose files are read, "
                f"as {', '.join(known)} are"
            )
    if internal not in {"", "drop", "keep"}:
        raise StackError(f"{_INTERNAL}={internal}: neither drop nor keep")


def make_access(layout: Layout) -> None:
    """Make what the servers of a home want to be shown, where it is not there yet.

    Raises:
        StackError: It cannot be made.
    """
    done = subprocess.run(
        [_PYTHON, "-m", "orchwatch.recording.stack_access"],
        env={**os.environ, "ORCHWATCH_HOME": str(layout.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise StackError(reason.removeprefix("error: "))


def spawn(component: str, layout: Layout, binaries: Mapping[str, Path]) -> subprocess.Popen[bytes]:
    """Start a component; what it prints goes to its log."""
    _lay_out(component, layout)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with os.fdopen(files.descriptor(layout.log(component), flags), "ab") as log:
        return subprocess.Popen(
            _command(component, layout, binaries),
            cwd=_working_directory(component, layout),
            env=_environment(component, layout),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # The caller's Ctrl-C and hang-up are not for the servers.
            start_new_session=True,
        )


def is_ready(component: str, layout: Layout) -> bool:
    """Whether a component does its work already."""
    url = {
        "collector": layout.health_url,
        "prometheus": f"{layout.prometheus_url}/-/ready",
        "alertmanager": f"{layout.alertmanager_url}/-/ready",
        # Its `/ready` is out of reach, see tempo/tempo.yaml; before it is ready it cannot search.
        "tempo": f"{layout.tempo_url}/api/search?limit=1",
        "monitor": f"http://{HOST}:{layout.ports.monitor}/-/healthy",
    }[component]
    # Always http, see Layout.
    request = urllib.request.Request(url, headers={"Authorization": layout.authorization})  # noqa: S310
    try:
        _OPENER.open(request, timeout=_ANSWERS_WITHIN_S).close()
    except urllib.error.HTTPError as error:
        # A monitor that has much to catch up on is at work before its first round is done.
        return component == MONITOR and not error.read().startswith(_STUCK)
    except (OSError, http.client.HTTPException):
        return False
    return True


def links_elsewhere(layout: Layout) -> bool:
    """Whether the runbook that alerts link to is at the usual port, and this Prometheus is not."""
    usual = Layout(layout.home, Ports()).prometheus_url
    return layout.prometheus_url != usual and f"{usual}/" in _ALERTS.read_text()


def _working_directory(component: str, layout: Layout) -> Path | None:
    match component:
        case "collector":
            return layout.home
        # These look there for what `_lay_out` writes.
        case "prometheus":
            return layout.home / "stack"
        case "alertmanager":
            return layout.home / "alertmanager"
        # Looks for the figures of the project that it is started in.
        case "monitor":
            return None
        case _:
            return layout.data(component)


def _lay_out(component: str, layout: Layout) -> None:
    """Write what a component looks for in its directory: addresses, and Prometheus' page."""
    match component:
        case "prometheus":
            addresses = layout.home / "stack" / "addresses"
            addresses.mkdir(mode=0o700, exist_ok=True)
            for name, port in {
                "alertmanager": layout.ports.alertmanager,
                "monitor": layout.ports.monitor,
                "prometheus": layout.ports.prometheus,
            }.items():
                (addresses / f"{name}.yml").write_text(f'- targets: ["{HOST}:{port}"]\n')
            with (addresses / "tempo.yml").open("w") as tempo:
                tempo.write(
                    f'- targets: ["{HOST}:{layout.ports.tempo_http}"]\n'
                    f'  labels: {{__metrics_path__: "{layout.secret_path}/metrics"}}\n'
                )
            page = layout.home / "stack" / _PROMETHEUS_PAGE.name
            page.unlink(missing_ok=True)
            page.symlink_to(_PROMETHEUS_PAGE)
        case "alertmanager":
            directory = layout.home / "alertmanager"
            directory.mkdir(mode=0o700, exist_ok=True)
            (directory / "url").write_text(f"http://{HOST}:{layout.ports.monitor}/alerts\n")


def _command(component: str, layout: Layout, paths: Mapping[str, Path]) -> list[str]:
    match component:
        case "collector":
            return [str(paths["otelcol"]), f"--config={ROOT / 'collector' / 'config.yaml'}"]
        case "prometheus":
            return [
                str(paths["prometheus"]),
                f"@{ROOT / 'prometheus' / 'flags'}",
                f"--config.file={ROOT / 'prometheus' / 'prometheus.yml'}",
                f"--storage.tsdb.path={layout.data('prometheus')}",
                f"--web.listen-address={HOST}:{layout.ports.prometheus}",
                f"--web.external-url={layout.prometheus_url}",
                f"--web.user-assets={ROOT / 'prometheus' / 'assets'}",
            ]
        case "alertmanager":
            return [
                str(paths["alertmanager"]),
                f"--config.file={_ALERTMANAGER_CONFIG}",
                f"--storage.path={layout.data('alertmanager')}",
                f"--web.listen-address={HOST}:{layout.ports.alertmanager}",
                f"--web.external-url={layout.alertmanager_url}",
                f"--web.config.file={layout.access / 'web.yml'}",
                # There is one only: without this it would listen for others.
                "--cluster.listen-address=",
                # A monitor process that is away would be two lines a minute for each alert.
                "--log.level=error",
            ]
        case "tempo":
            return [
                str(paths["tempo"]),
                f"-config.file={ROOT / 'tempo' / 'tempo.yaml'}",
                "-config.expand-env=true",
            ]
        case "monitor":
            return [str(_ORCHWATCH), "monitor"]
        case _:
            known = ", ".join((*COMPONENTS, MONITOR))
            raise StackError(f"no component {component!r}: {known}")


def _environment(component: str, layout: Layout) -> dict[str, str]:
    # OTEL_* in a shell is meant for the programs that are watched, and servers obey it too.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        **layout.ports.environment(),
        "ORCHWATCH_HOME": str(layout.home),
    }
    match component:
        # Seen from their working directories: a `$`, `*` or `: ` in the home's path would mean
        # something in a config.
        case "collector":
            environment |= {
                "ORCHWATCH_SPOOL_DIR": str(layout.spool.relative_to(layout.home)),
                "ORCHWATCH_COLLECTOR_STATE_DIR": str(
                    layout.data(component).relative_to(layout.home)
                ),
                "ORCHWATCH_COLLECTOR_HOST": HOST,
                "ORCHWATCH_ACCESS_DIR": str(layout.access.relative_to(layout.home)),
                "ORCHWATCH_PROMETHEUS_URL": layout.prometheus_url,
                "ORCHWATCH_TEMPO_OTLP_URL": f"http://{HOST}:{layout.ports.tempo_otlp_http}",
            }
        case "tempo":
            environment |= {
                "ORCHWATCH_TEMPO_DIR": ".",
                "ORCHWATCH_TEMPO_HOST": HOST,
                "ORCHWATCH_PATH": layout.secret_path,
                # As in containers: without it, what searches leave behind is collected late.
                "GOMEMLIMIT": _TEMPO_MEMORY,
            }
        case "monitor":
            environment |= {
                "ORCHWATCH_COLLECTOR_STATE_DIR": str(layout.data("collector")),
                "OTEL_EXPORTER_OTLP_ENDPOINT": layout.otlp_http_url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            }
    return environment


def _refuse_config(config: Path, amtool: Path) -> None:
    done = subprocess.run(
        [amtool, "check-config", config], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = done.stdout.rpartition("FAILED: ")[2] or done.stderr
        raise StackError(f"{config}: {' '.join(reason.split())}")
