"""Claude Code's own telemetry: the variables that send it to the local Collector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORT_VARIABLE = "ORCHWATCH_COLLECTOR_OTLP_GRPC_PORT"
_OTLP_GRPC_PORT = "4317"


def variables() -> dict[str, str]:
    """What to set in the settings' `env`, by name.

    Metrics and events; not its traces, which are beta and show again what the hooks and the
    session's file give. Sums are cumulative, so that any Prometheus takes them, and carry the
    session's id, which joins them to its operations. Over gRPC, which needs no password.
    """
    port = os.environ.get(_PORT_VARIABLE) or _OTLP_GRPC_PORT
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
        "OTEL_METRICS_INCLUDE_SESSION_ID": "true",
    }


def set_by_user(wanted: Mapping[str, str], settings_env: Mapping[str, object]) -> list[str]:
    """The variables that the settings set to something else, which stays as it is."""
    return [name for name, value in wanted.items() if settings_env.get(name, value) != value]
