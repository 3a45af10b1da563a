"""Claude Code's own telemetry: the variables that send it to the local Collector."""

from __future__ import annotations

import os

_PORT_VARIABLE = "ORCHWATCH_COLLECTOR_OTLP_GRPC_PORT"
_OTLP_GRPC_PORT = "4317"


_TRACES = {
    "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
    "OTEL_TRACES_EXPORTER": "otlp",
    # Programs that a tool starts, and command hooks, go on in the trace of their tool.
    "CLAUDE_CODE_PROPAGATE_TRACEPARENT": "1",
}


def variables(*, traces: bool = False) -> dict[str, str]:
    """What to set in the settings' `env`, by name.

    Sums are deltas, which the Collector adds up: a session that is resumed goes on under its id,
    and begins again at nothing in each process. They carry that id, which joins them to the
    session's operations. Over gRPC, which needs no password.

    Args:
        traces: Its traces too, which are beta.
    """
    port = os.environ.get(_PORT_VARIABLE) or _OTLP_GRPC_PORT
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_METRICS_INCLUDE_SESSION_ID": "true",
        **(_TRACES if traces else {}),
    }
