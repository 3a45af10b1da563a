"""The user's own command hooks, run through a launcher so that each one's time is measured.

The wrapped command holds the one it replaces whole, so that taking the wrapping off needs nothing
but the command itself. All else stands in the launcher, a small script of ours: Claude Code shows
the model the command of a hook that blocks.
"""

from __future__ import annotations

import os
import re
import shlex
import zlib

from orchwatch import semconv
from orchwatch.agents.claude_code.settings.registration import (
    Entry,
    command_words,
    interpreter,
    is_own,
)
from orchwatch.recording import files, hook_names
from orchwatch.recording.home import DIRECTORY_MODE, home

# Above this in the order of imports, so it is named and not imported.
_SCRIPT_PATH = os.path.join(
    os.path.abspath(__file__).rpartition("/agents/")[0], "integrations", "wrapped_hook.py"
)
_DIRECTORY = "wrapped-hooks"
_LAUNCHER_MODE = 0o700
_END_OF_OPTIONS = "--"
# What a shell reads: the launcher, or without one, as after `rm -r` of the home, the hook alone.
# $0 is that shell, whichever it is: the hook gets the one it always had. It gives way, or a signal
# that ends the hook would become an exit code.
_WRAPPED = 'set -- "$0" -c {command} ; test ! -x {path} || exec {path} "$@" ; exec "$@"'
_WRAPPED_WORDS = shlex.split(_WRAPPED)
_COMMAND, _LAUNCHER = _WRAPPED_WORDS.index("{command}"), _WRAPPED_WORDS.index("{path}")

_EXACT_MATCHER = re.compile(r"[A-Za-z0-9_-]+")
_TOOL_EVENTS = frozenset(
    ("PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionRequest", "PermissionDenied")
)


def is_wrapped(hook: object) -> bool:
    """Whether a hook is one that `wrap` has made; its time is recorded already."""
    if not isinstance(hook, dict):
        return False
    words = command_words(hook)
    if "args" in hook:
        return len(words) > 1 and _is_launcher(words[0])
    return (
        len(words) == len(_WRAPPED_WORDS)
        and _is_launcher(words[_LAUNCHER])
        and words == shlex.split(_in_shell(words[_LAUNCHER], words[_COMMAND]))
    )


def is_wrapped_command(command: str) -> bool:
    """The same for a command as a session file names it."""
    return f"/{_DIRECTORY}/" in command


def can_wrap(hook: object) -> bool:
    """Whether a hook is a command that is not ours, run by a POSIX shell or without a shell."""
    return (
        isinstance(hook, dict)
        and hook.get("type", "command") == "command"
        and isinstance(hook.get("command"), str)
        and bool(hook["command"].strip())
        and isinstance(hook.get("args", []), list)
        and all(isinstance(word, str) for word in hook.get("args", []))
        and hook.get("shell", "bash") == "bash"
        and not is_own(hook)
        and not is_wrapped(hook)
    )


def wrap(hook: Entry, event: str, matcher: object) -> Entry:
    """The members to set so that the hook runs as an operation, by the `launcher` of the same.

    Args:
        hook: One that `can_wrap`.
        event: What it is registered for.
        matcher: As the settings have it.
    """
    path, _ = launcher(hook, event, matcher)
    if "args" in hook:
        return {"command": path, "args": [hook["command"], *hook["args"]]}
    return {"command": _in_shell(path, hook["command"])}


def launcher(hook: Entry, event: str, matcher: object) -> tuple[str, bytes]:
    """Where the launcher of a wrapped hook lies, and what it holds.

    The same hook name, event and matcher share one, whatever the command. Without the package it
    runs the hook alone: an interpreter whose script is gone ends with 2, which blocks the agent.
    """
    name = hook_names.of_command(command_words(hook))
    words = [*interpreter(), _SCRIPT_PATH, home()]
    words += [f"{key}={value}" for key, value in _attributes(name, event, matcher).items()]
    content = (
        f'#!/bin/sh\ntest -r {shlex.quote(_SCRIPT_PATH)} || exec "$@"\n'
        f'exec {shlex.join(words)} {_END_OF_OPTIONS} "$@"\n'
    )
    file = f"{event if hook_names.PLAIN.fullmatch(event) else hook_names.UNNAMED}-{name}"
    if isinstance(matcher, str) and matcher:
        file += f"-{zlib.crc32(matcher.encode('utf-8', 'replace')):08x}"
    return os.path.join(home(), _DIRECTORY, file), content.encode()


def write_launcher(path: str, content: bytes) -> None:
    """Puts a launcher in its place, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    os.makedirs(os.path.dirname(path), DIRECTORY_MODE, exist_ok=True)
    files.replace(path, content, mode=_LAUNCHER_MODE)


def unwrap(hook: Entry) -> Entry:
    """The members to set back, of a hook that `is_wrapped`."""
    words = command_words(hook)
    if "args" not in hook:
        return {"command": words[_COMMAND]}
    return {"command": words[1], "args": words[2:]}


def _in_shell(path: str, command: str) -> str:
    return _WRAPPED.format(path=shlex.quote(path), command=shlex.quote(command))


def _is_launcher(path: str) -> bool:
    return os.path.basename(os.path.dirname(path)) == _DIRECTORY


def _attributes(name: str, event: str, matcher: object) -> dict[str, str]:
    attributes = {semconv.HOOK_EVENT_NAME: event, semconv.HOOK_NAME: name}
    if isinstance(matcher, str) and matcher:
        attributes[semconv.HOOK_MATCHER] = matcher
        if event in _TOOL_EVENTS and _EXACT_MATCHER.fullmatch(matcher):
            attributes[semconv.GEN_AI_TOOL_NAME] = matcher
    return attributes
