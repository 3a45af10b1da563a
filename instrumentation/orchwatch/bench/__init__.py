"""Benchmarks of the runtime's components, and of a user's own commands and functions."""
