"""Ids from the kernel, which no program can seed."""

from __future__ import annotations

import os

from opentelemetry.sdk.trace.id_generator import IdGenerator

_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


class KernelIds(IdGenerator):
    """Draws trace and span ids from `os.urandom`.

    The SDK's own generator draws from `random`: a host that seeds it, as tests and simulations do,
    would give different spans the same ids.
    """

    def generate_trace_id(self) -> int:
        """A trace id: 128 bits, not 0."""
        return _drawn(_TRACE_ID_BYTES)

    def generate_span_id(self) -> int:
        """A span id: 64 bits, not 0."""
        return _drawn(_SPAN_ID_BYTES)


def _drawn(size_bytes: int) -> int:
    while True:
        if drawn := int.from_bytes(os.urandom(size_bytes)):
            return drawn
