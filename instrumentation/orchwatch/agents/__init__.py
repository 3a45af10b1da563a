"""Coding agents whose sessions are read."""
