"""Which `user` lines are a person's prompts: that role also carries what the host injects."""

from __future__ import annotations

import re
from typing import Any

from orchwatch.claude.fields import mapping, text

PROMPT = "prompt"  # somebody asked for something
REQUEST = "request"  # a command or a notice: a turn only if the model answers it
INTERRUPTION = "interruption"  # somebody stopped the model
INJECTED = "injected"  # part of the turn that runs

_INTERRUPTED = "[Request interrupted by user"
_REQUESTS = ("<command-name>", "<command-message>")
_NOTICES = (
    "<local-command-",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "<system-reminder>",
    "<user-memory-input>",
    "Caveat: The messages below",
)
# Since this version a prompt's line says how it was asked, which tells a list of texts that is a
# prompt from one that is the host's.
_MARKED_SINCE = (2, 1)
_MARKS = ("permissionMode", "promptId", "promptSource", "thinkingMetadata", "todos", "origin")
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


def classify(line: dict[str, Any], content: object) -> tuple[str, str]:
    """What a user line without tool results is, and the id of its prompt.

    The prompt's id is Claude Code's own where the line has it, as hooks have it too, otherwise the
    line's id.
    """
    prompt_id = text(line.get("promptId"))
    return _kind(line, content, prompt_id), prompt_id or text(line.get("uuid"))


def _kind(line: dict[str, Any], content: object, named: str) -> str:
    first = _first_text(content)
    kind = PROMPT
    if line.get("isMeta") or line.get("isCompactSummary"):
        kind = INJECTED
    elif line.get("interruptedMessageId") or first.startswith(_INTERRUPTED):
        kind = INTERRUPTION
    elif first.startswith(_REQUESTS):
        kind = REQUEST
    elif first.startswith(_NOTICES):
        kind = REQUEST if named and first.startswith("<task-") else INJECTED
    elif mapping(line.get("origin")).get("kind", "human") != "human":
        kind = REQUEST if named else INJECTED
    elif isinstance(content, list) and _is_marked_version(line):
        kind = PROMPT if any(mark in line for mark in _MARKS) else INTERRUPTION
    return kind


def _first_text(content: object) -> str:
    if isinstance(content, list):
        for block in content:
            found = mapping(block).get("text")
            if isinstance(found, str):
                return found
        return ""
    return content if isinstance(content, str) else ""


def _is_marked_version(line: dict[str, Any]) -> bool:
    found = _VERSION.match(text(line.get("version")))
    return found is not None and tuple(map(int, found.groups())) >= _MARKED_SINCE
