"""Copilot CLI: its files of events become facts."""
