"""What `orchwatch demo` runs: agents that read Python's standard library."""
