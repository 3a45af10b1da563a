"""Benchmarks of the runtime's components, and of anybody's own commands and functions."""
