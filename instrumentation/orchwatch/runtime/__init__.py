"""A small multi-agent orchestration made of real operations: what `orchwatch demo` runs."""
