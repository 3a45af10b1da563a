"""Codex CLI: its rollout files become facts."""
