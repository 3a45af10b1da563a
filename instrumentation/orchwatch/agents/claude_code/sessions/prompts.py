"""Which `user` lines are a person's prompts: that role also carries what the host injects."""

from __future__ import annotations

from typing import Any

from orchwatch.agents.sessions.fields import mapping, text

PROMPT = "prompt"  # a user's prompt
REQUEST = "request"  # a command or a notice: a turn only if the model answers it
INTERRUPTION = "interruption"  # the user stopped the model
INJECTED = "injected"  # part of the turn that runs
UNKNOWN = "unknown"  # of an unknown shape

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
# What an editor or the host puts in front of a person's words.
_CONTEXT = ("<system-reminder>", "<ide_")


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
    if not isinstance(content, str | list) or not content:
        kind = UNKNOWN
    elif line.get("isMeta") or line.get("isCompactSummary"):
        kind = INJECTED
    elif line.get("interruptedMessageId") or first.startswith(_INTERRUPTED):
        kind = INTERRUPTION
    elif first.startswith(_REQUESTS):
        kind = REQUEST
    elif first.startswith(_NOTICES):
        kind = REQUEST if named and first.startswith("<task-") else INJECTED
    elif mapping(line.get("origin")).get("kind", "human") != "human":
        kind = REQUEST if named else INJECTED
    elif isinstance(content, list) and first.startswith(_CONTEXT):
        kind = INJECTED
    return kind


def _first_text(content: object) -> str:
    """The first text, if any, that is not mere context of what follows."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = [one for block in content if isinstance(one := mapping(block).get("text"), str)]
    others = any(mapping(block).get("type") not in (None, "text") for block in content)
    said = [one for one in texts if not one.startswith(_CONTEXT)]
    if said:
        return said[0]
    return "" if others or not texts else texts[0]
