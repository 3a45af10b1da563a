"""Qwen Code's sessions."""
