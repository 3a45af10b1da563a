"""What the spans mean: key figures, health, levels, the event stream. No telemetry SDK."""
