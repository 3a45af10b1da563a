"""The OpenTelemetry side: imported by long-running processes only."""

from orchwatch.sdk.providers import configure

__all__ = ["configure"]
