"""Which plugin a hook belongs to, by the command that a session's file holds of it.

Claude Code writes a command as its plugin has it, with `${CLAUDE_PLUGIN_ROOT}` where that lies. So
the plugins that are installed are asked which one has it; one that two have is nobody's.
"""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.settings.locations import settings_file
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = "CLAUDE_PLUGIN_ROOT"
_MAX_BYTES = 1 << 20
_NAME = re.compile(r"[\w.-]{1,64}")
# Where Claude Code keeps what it has installed: the marketplace's name, then the plugin's.
_INSTALLED = re.compile(
    r"[/\\]plugins[/\\](?:cache[/\\][^/\\]+|marketplaces[/\\][^/\\]+[/\\]plugins)[/\\]([\w.-]{1,64})[/\\]"
)


def plugin_of(command: object) -> str:
    """The plugin's name, empty where none is known."""
    if not isinstance(command, str):
        return ""
    found = _INSTALLED.search(command)
    if found:
        return found[1]
    if _ROOT not in command:
        return ""
    registry = os.path.join(
        os.path.dirname(settings_file("user")), "plugins", "installed_plugins.json"
    )
    try:
        changed_ns = os.stat(registry).st_mtime_ns
    except OSError:
        return ""
    return _by_command(registry, changed_ns).get(command, "")


@lru_cache(maxsize=1)
def _by_command(registry: str, _changed_ns: int) -> dict[str, str]:
    """The plugin that has each command of a hook; empty where several have it."""
    found: dict[str, str] = {}
    plugins = _object(_parsed(registry).get("plugins"))
    for key, installed in plugins.items():
        name = key.partition("@")[0]
        if not _NAME.fullmatch(name):
            continue
        for one in installed if isinstance(installed, list) else [installed]:
            path = _object(one).get("installPath")
            if isinstance(path, str):
                for command in _commands(os.path.join(path, "hooks", "hooks.json")):
                    found[command] = name if found.get(command, name) == name else ""
    return found


def _commands(path: str) -> Iterator[str]:
    for entries in _object(_parsed(path).get("hooks")).values():
        for entry in entries if isinstance(entries, list) else []:
            hooks = _object(entry).get("hooks")
            for hook in hooks if isinstance(hooks, list) else []:
                command = _object(hook).get("command")
                if isinstance(command, str):
                    yield command


def _parsed(path: str) -> dict[str, Any]:
    try:
        return _object(json.loads(files.read(path, _MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
