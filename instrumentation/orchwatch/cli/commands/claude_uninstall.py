"""`orchwatch claude uninstall`: a settings file as it was before orchwatch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli.commands.claude_install import add_scope
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse

    from orchwatch.agents.claude_code.settings.installation import Change

HELP = "take orchwatch out of Claude Code's settings again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_scope(parser)


def run(arguments: argparse.Namespace) -> int:
    """Gives the file back as it was, or where it has changed since takes out what is ours.

    Raises:
        SettingsError: The file cannot be read or changed, or is not what it should be.
    """
    from orchwatch.agents.claude_code.settings import installation, locations  # noqa: PLC0415 - slow, see `commands`

    path = locations.settings_file(arguments.scope)
    change = installation.plan_uninstall(path)
    while not installation.write(change):
        change = installation.plan_uninstall(path)
    sys.stdout.write(f"{safe(change.path)}: {_summary(change)}\n")
    return 0


def _summary(change: Change) -> str:
    if change.new == change.current:
        return "holds nothing of orchwatch; nothing was changed"
    if change.removed is None:
        return "removed again" if change.new is None else "as it was before, to the byte"
    removed = change.removed
    parts = [f"{removed.hooks} hooks removed"]
    if removed.unwrapped:
        parts.append(f"{removed.unwrapped} unwrapped")
    if removed.env:
        parts.append(f"{len(removed.env)} variables removed")
    return f"{', '.join(parts)}; the rest has changed since and stays as it is"
