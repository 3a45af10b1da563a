"""One hook event of Claude Code as one line of the spool family `hooks`.

A line is `{"received_ns": …, "project": …, "sizes": {…}, "payload": {…}}`. The payload has the
shape of the one that came in, so one reader serves both this line and the body of an `http` hook;
content is left out of it. `sizes` are characters of the texts left out, and as `payload` the bytes
of the whole. Neither `transcript_path` nor `cwd` is kept: the session's file is named after the
session id, and of the directory only the last part, the project's name, is needed. The start of a
session also has `started_ns`, when Claude Code's process was started.

Runs once an event, so it imports what an append needs and nothing else.
"""

from __future__ import annotations

import os
import time
from math import isfinite

from orchwatch.recording import files, losses, spool
from orchwatch.recording.json_text import loads
from orchwatch.recording.otlp_json import quote, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Identifiers and names, recorded as they are.
NAMES = (
    "hook_event_name",
    "session_id",
    "prompt_id",
    "permission_mode",
    "agent_id",
    "agent_type",
    "source",
    "model",
    "tool_name",
    "tool_use_id",
    "trigger",
    "notification_type",
    "task_id",
    "teammate_name",
    "team_name",
    "command_name",
    "expansion_type",
    "mcp_server_name",
    "elicitation_id",
    "action",
    "mode",
)
# A category in some events, free text in others: recorded where it is one word.
WORDS = ("reason", "error", "status")
NUMBERS = ("duration_ms", "is_interrupt", "stop_hook_active")
# Content: only its length is recorded.
TEXTS = (
    "prompt",
    "error",
    "error_details",
    "reason",
    "message",
    "last_assistant_message",
    "compact_summary",
    "custom_instructions",
    "task_subject",
    "task_description",
)
# What a call that starts a sub-agent says about it; other tools' inputs and outputs are content.
AGENT_TOOLS = ("Agent", "Task")
AGENT_INPUT = ("subagent_type", "run_in_background", "model")
AGENT_RESPONSE = (
    "status",
    "agentId",
    "totalDurationMs",
    "totalTokens",
    "totalToolUseCount",
)

# A request for a permission names no call: the one with the same input is meant.
WAITING = ("PreToolUse", "PermissionRequest")

MAX_NAME_LENGTH = 256
_DIGEST_PRIME = 1_073_741_789  # the largest below 2^30, which divides fastest
_WORD_PUNCTUATION = str.maketrans("", "", "_-.:")
_MAX_WORD_LENGTH = 64
_STDIN = 0
_CHUNK_BYTES = 1 << 20
_SIGINT = 2
_STAT_BYTES = 4096


def record(home: str = "") -> None:
    """Appends the event on standard input to the spool; what cannot be is counted.

    Args:
        home: Where to record where the environment names no `ORCHWATCH_HOME`.
    """
    received_ns = time.time_ns()
    # The terminal sends Ctrl-C to the whole group, and the event it ends is worth recording.
    import _signal as signal  # type: ignore[import-not-found]  # noqa: PLC0415 - no enumerations

    signal.signal(_SIGINT, signal.SIG_IGN)
    if home:
        os.environ.setdefault("ORCHWATCH_HOME", home)
    try:
        line = encode(_read(), received_ns, process_start_ns)
        spool.append(spool.HOOKS, to_bytes(line))
    except (ValueError, RecursionError, MemoryError, OSError):
        losses.count("bad_hook_payload")
    except Exception:  # noqa: BLE001 - the agent's hook must not fail, and the loss is counted
        losses.count("internal_error")
    losses.flush()


def encode(body: bytes, received_ns: int, started_ns: Callable[[], int] = int) -> str:
    """The line for a payload.

    Args:
        body: The payload as Claude Code wrote it.
        received_ns: Unix time in nanoseconds.
        started_ns: Says when Claude Code's process was started, Unix time in nanoseconds; 0 where
            that is not known.

    Raises:
        ValueError: It is not a JSON object with a hook event's name.
    """
    payload = loads(body.decode())
    if type(payload) is not dict or type(payload.get("hook_event_name")) is not str:
        raise ValueError("not the payload of a hook event")
    sizes = [f'"payload":{len(body)}']
    for key in TEXTS:
        text = payload.get(key)
        if type(text) is str:
            sizes.append(f'"{key}":{len(text)}')
    cwd = payload.get("cwd")
    project = os.path.basename(cwd.rstrip("/")) if type(cwd) is str else ""
    since_ns = started_ns() if payload["hook_event_name"] == "SessionStart" else 0
    began = f'"started_ns":{since_ns},' if since_ns else ""
    return (
        f'{{"received_ns":{received_ns},{began}"project":{quote(project[:MAX_NAME_LENGTH])},'
        f'"sizes":{{{",".join(sizes)}}},"payload":{{{",".join(_members(payload))}}}}}\n'
    )


def process_start_ns() -> int:
    """When the Claude Code was started that runs this hook, Unix nanoseconds; 0 if not known."""
    pid = os.environ.get("CLAUDE_PID", "")
    if not (pid.isascii() and pid.isdigit()):
        return 0
    try:
        # Since the machine's start, in ticks: the 22nd member, the second being a name in brackets.
        stat = files.read(f"/proc/{pid}/stat", _STAT_BYTES)
        ticks = int(stat.rpartition(b")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # no Linux, say
        return 0
    return time.time_ns() - int(age_s * 1e9)


def _members(payload: dict[str, Any]) -> list[str]:
    members = _pick(payload, (*NAMES, *NUMBERS, *WORDS))
    effort = payload.get("effort")
    if type(effort) is dict:
        members.append(f'"effort":{{{",".join(_pick(effort, ("level",)))}}}')
    if payload["hook_event_name"] in WAITING and "tool_input" in payload:
        members.append(f'"tool_input_digest":{_digest(payload["tool_input"])}')
    if payload.get("tool_name") in AGENT_TOOLS:
        for key, inner in (("tool_input", AGENT_INPUT), ("tool_response", AGENT_RESPONSE)):
            value = payload.get(key)
            if type(value) is dict:
                members.append(f'"{key}":{{{",".join(_pick(value, inner))}}}')
    return members


def _digest(value: object) -> int:
    """A number that differs between different values, reveals nothing and needs no import."""
    return int.from_bytes(repr(value).encode(), "big") % _DIGEST_PRIME


def _pick(source: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    members = []
    for key in keys:
        value = source.get(key)
        if type(value) is str:
            if key not in WORDS or _is_word(value):
                members.append(f'"{key}":{quote(value[:MAX_NAME_LENGTH])}')
        elif type(value) is bool:
            members.append(f'"{key}":{"true" if value else "false"}')
        elif type(value) is int or (type(value) is float and isfinite(value)):
            members.append(f'"{key}":{value!r}')
    return members


def _is_word(value: str) -> bool:
    return len(value) <= _MAX_WORD_LENGTH and value.translate(_WORD_PUNCTUATION).isalnum()


def _read() -> bytes:
    if os.isatty(_STDIN):
        return b""  # started by hand: no payload will come
    chunks = []
    while chunk := os.read(_STDIN, _CHUNK_BYTES):
        chunks.append(chunk)
    return b"".join(chunks)
