"""What the output of a tool call says of its outcome; nothing else of its text is taken."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from orchwatch import semconv
from orchwatch.agents.sessions.fields import mapping, text

_HEAD_CHARS = 256
# Texts that the client writes before what the command or the script wrote.
_EXITED = re.compile(
    r"(?:Chunk ID: .*\n)?(?:Wall time: .*\n)?Process exited with code (-?\d{1,9})\n"
)
_EXIT_CODE = re.compile(r"Exit code: (-?\d{1,9})\n")
_ABORTED = re.compile(r"(?:Wall time: .*\n)?aborted by user\b")
_UNSUPPORTED = "unsupported call: "
_SCRIPT_FAILED = "Script failed\n"

APPLY_PATCH = "apply_patch"
EXEC = "exec"  # the call of code mode: a script that calls the tools


class Output(NamedTuple):
    """The outcome of a call, as far as its output tells.

    Attributes:
        error_type: Why it failed; empty if it did not, or that is not known.
        outcome: Why it was not carried out to its end, where it has not failed.
        exit_code: Of the command that it ran.
        agent: The sub-agent that it started.
    """

    error_type: str = ""
    outcome: str = ""
    exit_code: int | None = None
    agent: str = ""


def read(tool: str, output: object) -> Output:
    """Of a call of this tool."""
    head = _head(output)
    if _ABORTED.match(head):
        return Output(outcome=semconv.INTERRUPTED)
    error_type = _error_type(tool, head, output)
    if error_type:
        return Output(error_type=error_type)
    if tool.endswith("spawn_agent"):
        return Output(agent=text(_object(output).get("agent_id")))
    exit_code = _exit_code(head, output)
    if tool == APPLY_PATCH:  # no command: its code says whether the patch fits
        return Output(error_type="failed" if exit_code else "")
    return Output(exit_code=exit_code)


def _error_type(tool: str, head: str, output: object) -> str:
    if mapping(output).get("success") is False:
        return "failed"
    if head.startswith(_UNSUPPORTED):
        return "unsupported"
    return "script_failed" if tool == EXEC and head.startswith(_SCRIPT_FAILED) else ""


def _head(output: object) -> str:
    if isinstance(output, dict):
        output = output.get("content")
    if isinstance(output, list) and output:
        output = mapping(output[0]).get("text")
    return output[:_HEAD_CHARS] if isinstance(output, str) else ""


def _exit_code(head: str, output: object) -> int | None:
    found = _EXITED.match(head) or _EXIT_CODE.match(head)
    if found:
        return int(found[1])
    if head.startswith('{"output":'):
        code = mapping(_object(output).get("metadata")).get("exit_code")
        return code if type(code) is int else None
    return None


def _object(output: object) -> dict[str, Any]:
    if not isinstance(output, str) or not output.startswith("{"):
        return {}
    try:
        return mapping(json.loads(output))
    except (ValueError, RecursionError):
        return {}
