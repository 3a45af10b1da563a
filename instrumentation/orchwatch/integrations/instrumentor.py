"""The entry point for `opentelemetry-instrument`: watches programs that nobody edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# The module opts out of type checking as a whole.
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from orchwatch.integrations import wrapping

if TYPE_CHECKING:
    from collections.abc import Collection


class OrchestrationInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Makes each call of the configured callables an operation.

    `instrument(callables={"app.db:Store.get": "state.query"})` names them in code; without it they
    come from `[instrument]` in `orchwatch.toml` and from `ORCHWATCH_INSTRUMENT`.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """No package in particular: any program may be watched."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        callables = kwargs.get("callables")
        if callables is None:
            wrapping.apply_configured()
        else:
            wrapping.apply(callables)

    def _uninstrument(self, **_kwargs: Any) -> None:
        wrapping.remove()
