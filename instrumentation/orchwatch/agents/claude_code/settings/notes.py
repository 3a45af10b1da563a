"""What a person should know about settings that orchwatch is installed in."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.settings.registration import hook_url

if TYPE_CHECKING:
    from collections.abc import Mapping


def for_settings(
    value: Mapping[str, Any], *, posts: bool, variables: Mapping[str, str]
) -> list[str]:
    """One line for each thing that keeps what was installed from working as it says.

    Args:
        value: The settings.
        posts: Whether they hold `http` hooks of ours.
        variables: The environment variables that were to be set.
    """
    notes = []
    if value.get("disableAllHooks"):
        notes.append("disableAllHooks is set here: Claude Code runs no hook at all")
    allowed = value.get("allowedHttpHookUrls")
    if posts and isinstance(allowed, list) and not any(map(_allows, allowed)):
        notes.append(
            f"allowedHttpHookUrls does not allow {hook_url()}: add it there, or use --hooks command"
        )
    environment = value.get("env", {})
    different = [name for name, text in variables.items() if environment.get(name) != text]
    if different:
        notes.append(f"kept as you have set it: {', '.join(different)}")
    return notes


def for_shared_file(path: str) -> list[str]:
    """What is to be said of a project's settings that others get with the repository."""
    directory = os.path.dirname(os.path.abspath(path))
    while not os.path.exists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return []
        directory = parent
    note = (
        f"{path} lies in a git repository, and holds paths of this machine: do not commit it, or "
        "use --local, whose file Claude Code keeps out of git"
    )
    return [note]


def _allows(pattern: object) -> bool:
    if not isinstance(pattern, str):
        return False
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), hook_url()))
