"""The entry point for `opentelemetry-instrument`: watches programs without editing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

# The module opts out of type checking as a whole.
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from orchwatch.integrations import children, wrapping
from orchwatch.recording import active
from orchwatch.sdk.providers import use_global_providers

if TYPE_CHECKING:
    from collections.abc import Collection


class OrchestrationInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Makes each call of the configured callables an operation.

    `instrument(callables={"app.db:Store.get": "state.query"})` names them in code; without it they
    come from `[instrument]` in `orchwatch.toml` and from `ORCHWATCH_INSTRUMENT`.

    Operations go to the OpenTelemetry providers that the host has set up by then, as those of
    every other instrumentation do, and to the spool where it has set up none.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """No package in particular: any program may be watched."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self._recorder_before = active.chosen
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            use_global_providers()
        self._recorder = active.chosen
        children.follow()
        callables = kwargs.get("callables")
        if callables is None:
            wrapping.apply_configured()
        else:
            wrapping.apply(callables)

    def _uninstrument(self, **kwargs: Any) -> None:
        wrapping.remove()
        children.forget()
        if active.chosen is self._recorder:  # and not another, by configure() since
            active.use(self._recorder_before)
