"""The OpenTelemetry side: imported by long-running processes only."""

from orchwatch.sdk.providers import configure, export_metrics, sends_otlp

__all__ = ["configure", "export_metrics", "sends_otlp"]
