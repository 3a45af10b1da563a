"""Performance targets, traces and metrics for multi-agent orchestrations."""

from __future__ import annotations

from orchwatch.recording.version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orchwatch.errors import OrchwatchError
    from orchwatch.integrations.instrumentor import OrchestrationInstrumentor
    from orchwatch.recording.metrics import count, gauge
    from orchwatch.recording.operation import operation
    from orchwatch.recording.profiler import Profiler
    from orchwatch.recording.propagation import attach, child_environment, inject
    from orchwatch.recording.timed_calls import timed
    from orchwatch.sdk import configure

__all__ = [
    "OrchestrationInstrumentor",
    "OrchwatchError",
    "Profiler",
    "attach",
    "child_environment",
    "configure",
    "count",
    "gauge",
    "inject",
    "operation",
    "timed",
]

# Imported when first asked for: a hook, or a command, pays for what it uses.
_HOMES = {
    "OrchestrationInstrumentor": "orchwatch.integrations.instrumentor",
    "OrchwatchError": "orchwatch.errors",
    "Profiler": "orchwatch.recording.profiler",
    "attach": "orchwatch.recording.propagation",
    "child_environment": "orchwatch.recording.propagation",
    "configure": "orchwatch.sdk",
    "count": "orchwatch.recording.metrics",
    "gauge": "orchwatch.recording.metrics",
    "inject": "orchwatch.recording.propagation",
    # Not in a module of that name: once imported, it would hide the function.
    "operation": "orchwatch.recording.operation",
    "timed": "orchwatch.recording.timed_calls",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # `importlib.import_module` does the same, but has to be imported first.
    value = getattr(__import__(_HOMES[name], fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
