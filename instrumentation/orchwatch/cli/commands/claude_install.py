"""`orchwatch claude install`: hooks, wrapping and telemetry, into a settings file."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING

from orchwatch.errors import UsageError
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse

    from orchwatch.agents.claude_code.settings.installation import Change
    from orchwatch.agents.claude_code.settings.settings_file import Additions

HELP = "register orchwatch's hooks in Claude Code's settings"

# Of a setting, which may hold a long command.
_LINE_COLUMNS = 2000
_SHOWN_SECRET = "********"  # noqa: S105 - what stands for it in a diff


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    add_scope(parser)
    parser.add_argument(
        "--hooks",
        choices=("http", "command"),
        help="http: events go to the monitor, and nowhere while it is down; command: to the spool,"
        " by one short process per event (default: http; with --project command, as a shared file"
        " must not hold the secret of http hooks)",
    )
    parser.add_argument(
        "--wrap", action="store_true", help="measure your own command hooks in there too"
    )
    parser.add_argument(
        "--telemetry",
        nargs="?",
        choices=("metrics", "traces"),
        const="metrics",
        help="send Claude Code's own metrics and events to the local Collector; traces: its traces"
        " (beta) too",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and stop")
    parser.add_argument("--diff", action="store_true", help="show the change line by line too")


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Which settings: the same options for installing and uninstalling."""
    scope = parser.add_mutually_exclusive_group()
    for name, where in (
        ("user", "yours, for all projects: ~/.claude or CLAUDE_CONFIG_DIR (default)"),
        ("project", "the current directory's, shared: .claude/settings.json"),
        ("local", "the current directory's, yours: .claude/settings.local.json"),
    ):
        scope.add_argument(
            f"--{name}", dest="scope", action="store_const", const=name, default="user", help=where
        )


def run(arguments: argparse.Namespace) -> int:
    """Says what changes, and makes it; asks before where a person is there to answer.

    Raises:
        UsageError: Others would get the secret.
        SettingsError: The file cannot be read or changed, or is not what it should be.
        SecretError: The secret cannot be read or written.
    """
    from orchwatch.agents.claude_code.settings import backup, installation, locations  # noqa: PLC0415 - slow, see `commands`

    _choose_hooks(arguments)
    path = locations.settings_file(arguments.scope)
    while True:
        change = installation.plan_install(path, lambda: _additions(arguments))
        if not change.changes:
            _say(f"{change.path}: nothing to change")
            break
        if arguments.diff:
            _say(*_diff(change))
        if arguments.dry_run:
            _say(f"{change.path}: {_summary(change)}: this is what would change; nothing did")
            break
        if not arguments.diff and _asks():
            _say(f"{change.path}: {_summary(change)}; --diff shows each line")
        if not _agreed(change.path):
            _say("nothing was changed")
            return 0
        if installation.write(change):
            _say(f"{change.path}: {_summary(change)}")
            if change.before is not None:
                _say(f"as it was before: {backup.content_path(change.path)}")
            break
        # The file has changed since it was read.
    _say(*(f"note: {note}" for note in _notes(change, arguments.scope)))
    return 0


def _choose_hooks(arguments: argparse.Namespace) -> None:
    if arguments.hooks is None:
        arguments.hooks = "command" if arguments.scope == "project" else "http"
    elif arguments.hooks == "http" and arguments.scope == "project":
        raise UsageError(
            "--project --hooks http would put a secret into a file that others get; use --local, or"
            " --hooks command"
        )


def _additions(arguments: argparse.Namespace) -> Additions:
    from orchwatch.agents.claude_code.settings import registration, telemetry  # noqa: PLC0415 - as above
    from orchwatch.agents.claude_code.settings.settings_file import Additions  # noqa: PLC0415

    secret = ""
    if arguments.hooks == "http" and arguments.dry_run:
        secret = registration.read_secret() or _SHOWN_SECRET
    elif arguments.hooks == "http":
        secret = registration.make_secret()
    return Additions(
        hooks=registration.entries(arguments.hooks, secret),
        wrap=arguments.wrap,
        env=telemetry.variables(traces=arguments.telemetry == "traces")
        if arguments.telemetry
        else {},
    )


def _diff(change: Change) -> list[str]:
    from orchwatch.agents.claude_code.settings.registration import SECRET_HEADER  # noqa: PLC0415 - as above

    assert change.additions is not None
    before, after = (
        (content or b"").decode("utf-8", "replace").splitlines()
        for content in (change.current, change.new)
    )
    secrets = {
        entry["headers"][SECRET_HEADER]
        for entry in change.additions.hooks.values()
        if "headers" in entry
    }
    lines = difflib.unified_diff(
        before, after, change.path, f"{change.path} (new)", n=2, lineterm=""
    )
    text = "\n".join(lines)
    for secret in secrets:
        text = text.replace(secret, _SHOWN_SECRET)
    return [line.expandtabs(4) for line in text.splitlines()]


def _asks() -> bool:
    """Whether a person is there to answer."""
    return bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())


def _agreed(path: str) -> bool:
    if not _asks():
        return True
    sys.stdout.write(f"Write this to {safe(path)}? [Y/n] ")
    sys.stdout.flush()
    return sys.stdin.readline().lower() in {"\n", "y\n", "yes\n"}


def _summary(change: Change) -> str:
    from orchwatch.agents.claude_code.settings import settings_file  # noqa: PLC0415 - as above

    assert change.additions is not None
    kinds = [entry["type"] for entry in change.additions.hooks.values()]
    parts = [
        f"{kinds.count(kind)} {kind} hooks registered"
        for kind in ("http", "command")
        if kind in kinds
    ]
    wrapped = settings_file.wrapped_count((change.new or b"").decode().lstrip("\ufeff"))
    if change.additions.wrap:
        parts.append(f"{wrapped} other hooks wrapped")
    if change.env:
        parts.append(f"{len(change.env)} variables set")
    if change.new_mode != change.mode:
        parts.append("only you can read it now, as it holds a secret")
    return ", ".join(parts)


def _notes(change: Change, scope: str) -> list[str]:
    from orchwatch.agents.claude_code.settings import notes, settings_file  # noqa: PLC0415 - as above

    assert change.additions is not None
    found = notes.for_settings(
        settings_file.parse((change.new or b"").decode().lstrip("\ufeff")),
        posts=any(entry["type"] == "http" for entry in change.additions.hooks.values()),
        variables=change.additions.env,
    )
    return found + (notes.for_shared_file(change.path) if scope == "project" else [])


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(safe(line, _LINE_COLUMNS) + "\n")
