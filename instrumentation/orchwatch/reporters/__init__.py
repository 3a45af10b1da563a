"""Render what was measured to a given file."""
