"""The reading side: what was measured, from the spool and the embedded store. No telemetry SDK."""
