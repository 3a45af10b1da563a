"""The user's own command hooks, run through `orchwatch run` so that each one's time is measured.

The wrapped command holds the one it replaces whole, so that taking the wrapping off needs nothing
but the command itself.
"""

from __future__ import annotations

import os
import re
import shlex

from orchwatch import names
from orchwatch.claude.registration import Entry, command_words, interpreter, is_own, own_home

# The command line's entry for an isolated interpreter; next to it in the package, and above it in
# the order of imports, so it is named and not imported.
RUN_SCRIPT = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli", "isolated.py"
)
_RUN_SCRIPT_TAIL = "/orchwatch/cli/isolated.py"
_RUN_SCRIPT_INDEX = 3  # python -I -S isolated.py [--home …] run …
_END_OF_OPTIONS = "--"

_EXACT_MATCHER = re.compile(r"[A-Za-z0-9_-]+")
_TOOL_EVENTS = frozenset(
    ("PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionRequest", "PermissionDenied")
)

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_NAME = re.compile(r"[\w.+@-]{1,64}")
_SCRIPT = re.compile(r"[\w.+@-]{1,58}\.(?:py|sh|bash|zsh|js|mjs|cjs|ts|rb|pl|php|lua)")
# What is handed a script to run: the hook is that script.
_RUNNERS = re.compile(
    r"(?:python|pypy|node|ruby|perl|php|lua)[\d.]*"
    r"|sh|bash|dash|zsh|ksh|bun|deno|tsx|ts-node|npx|uv|uvx|poetry|pipenv|env|exec|nice|timeout|time"
)
_UNNAMED = "shell"


def is_wrapped(hook: object) -> bool:
    """Whether a hook is one that `wrap` has made; its time is recorded already."""
    if not isinstance(hook, dict):
        return False
    words = command_words(hook)
    if "args" not in hook:
        words = words[1:]  # exec
    return (
        len(words) > _RUN_SCRIPT_INDEX + 1
        and words[_RUN_SCRIPT_INDEX].endswith(_RUN_SCRIPT_TAIL)
        and words[_RUN_SCRIPT_INDEX + 1] in {"--home", "run"}
        and _END_OF_OPTIONS in words
    )


def is_wrapped_command(command: str) -> bool:
    """The same for a command as a session file names it."""
    return _RUN_SCRIPT_TAIL in command


def can_wrap(hook: object) -> bool:
    """Whether a hook is somebody else's command for a POSIX shell or for none."""
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
    """The members to set so that the hook runs as an operation.

    Args:
        hook: One that `can_wrap`.
        event: What it is registered for.
        matcher: As the settings have it.
    """
    words = [*interpreter(), RUN_SCRIPT]
    for directory in own_home():
        words += ("--home", directory)
    words += ("run", "--operation", names.HOOK_PROCESS)
    for key, value in _attributes(hook, event, matcher).items():
        words += ("--attribute", f"{key}={value}")
    words.append(_END_OF_OPTIONS)
    if "args" in hook:
        return {"command": words[0], "args": [*words[1:], hook["command"], *hook["args"]]}
    # $0 is the shell that reads this, whichever it is: the hook gets the one it always had. That
    # shell gives way, or a signal that ends the hook would become an exit code.
    return {"command": f'exec {shlex.join(words)} "$0" -c {shlex.quote(hook["command"])}'}


def unwrap(hook: Entry) -> Entry:
    """The members to set back, of a hook that `is_wrapped`."""
    words = command_words(hook)
    if "args" not in hook:
        return {"command": words[-1]}
    command, *arguments = words[words.index(_END_OF_OPTIONS) + 1 :]
    return {"command": command, "args": arguments}


def hook_name(words: list[str]) -> str:
    """What to call a hook: its script's or else its program's base name, never an argument."""
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return _UNNAMED
    program = os.path.basename(words[0])
    for word in words[1:] if _RUNNERS.fullmatch(program) else ():
        if word in ("-c", "-e", "-m"):  # what follows is a program, and no file
            break
        name = os.path.basename(word)
        if _SCRIPT.fullmatch(name):
            return name
    return program if _NAME.fullmatch(program) else _UNNAMED


def _attributes(hook: Entry, event: str, matcher: object) -> dict[str, str]:
    attributes = {names.HOOK_EVENT_NAME: event, names.HOOK_NAME: hook_name(command_words(hook))}
    if isinstance(matcher, str) and matcher:
        attributes[names.HOOK_MATCHER] = matcher
        if event in _TOOL_EVENTS and _EXACT_MATCHER.fullmatch(matcher):
            attributes[names.GEN_AI_TOOL_NAME] = matcher
    return attributes
