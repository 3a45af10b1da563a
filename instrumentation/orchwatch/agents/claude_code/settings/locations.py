"""Where Claude Code's settings lie."""

from __future__ import annotations

import os

SCOPES = ("user", "project", "local")


def settings_file(scope: str) -> str:
    """The settings of a scope.

    Args:
        scope: `user`, in `CLAUDE_CONFIG_DIR` or else `~/.claude`; `project`, shared through the
            current directory's repository; or `local`, personal and kept out of it.
    """
    if scope == "user":
        directory = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")
        return os.path.join(os.path.abspath(directory), "settings.json")
    name = "settings.local.json" if scope == "local" else "settings.json"
    return os.path.join(os.getcwd(), ".claude", name)
