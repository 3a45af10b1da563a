"""Where Claude Code's settings and sessions lie."""

from __future__ import annotations

import os

SCOPES = ("user", "project", "local")


def settings_file(scope: str) -> str:
    """The settings of a scope.

    Args:
        scope: `user`, in `CLAUDE_CONFIG_DIR` or else `~/.claude`; `project`, shared by all who work
            in the current directory; or `local`, this person's own there.
    """
    if scope == "user":
        return os.path.join(_user_directory(), "settings.json")
    name = "settings.local.json" if scope == "local" else "settings.json"
    return os.path.join(os.getcwd(), ".claude", name)


def projects_folder() -> str:
    """Where the user's session files lie, in a folder for each project."""
    return os.path.join(_user_directory(), "projects")


def _user_directory() -> str:
    return os.path.abspath(os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude"))
