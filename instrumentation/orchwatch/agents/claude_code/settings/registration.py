"""What orchwatch registers with Claude Code, and the wire contract of its `http` hooks.

An `http` hook is `POST http://127.0.0.1:PORT/claude/hook`. Its body is the event's payload, one
JSON object in UTF-8, as a command hook gets it on standard input; `SECRET_HEADER` carries what the
file `secret_path()` holds. The receiver takes a request only if its `Host` is one of
`accepted_hosts` (a web page that had its own name resolved to 127.0.0.1 sends another one)
and its secret is right, and answers 200 with an empty body, which decides nothing. Any other status
shows up in the session as a notice. Source: https://code.claude.com/docs/en/hooks
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any, Literal

from orchwatch.recording import losses, secret_file
from orchwatch.recording.home import home

Mode = Literal["http", "command"]
Entry = dict[str, Any]

MONITOR_HOST = "127.0.0.1"
# What the other containers call the monitor's, in docker-compose.yml.
MONITOR_SERVICE = "monitor"
ORCHWATCH_MONITOR_PORT = 7319
PORT_VARIABLE = "ORCHWATCH_MONITOR_PORT"
HOOK_PATH = "/claude/hook"
SECRET_HEADER = "X-Orchwatch-Secret"  # noqa: S105 - the header's name

# The agent waits for its hooks: a monitor that hangs costs it this much.
HTTP_TIMEOUT_S = 1
COMMAND_TIMEOUT_S = 10
# Events at the end of a session share 1.5 s unless a hook has a timeout of its own.
SESSION_END_TIMEOUT_S = 2

# Event: what it adds to the session's file.
EVENTS = {
    "SessionStart": "exact start, and why: startup, resume, clear, compact, fork",
    "Setup": "what ran before the session's start",
    "UserPromptSubmit": "start of a turn",
    "PreToolUse": "start of a call, before the wait for a permission",
    "PermissionRequest": "start of the wait for a permission",
    "PermissionDenied": "end of a call that has no other",
    "PostToolUse": "end of a call, and how long it ran without the wait",
    "PostToolUseFailure": "the same of a call that failed",
    "Notification": "who waits for the person",
    "SubagentStart": "first sign of life of a sub-agent",
    "SubagentStop": "end of a sub-agent, the only one where it ran in the background",
    "TaskCreated": "start of a task",
    "TaskCompleted": "end of a task",
    "TeammateIdle": "an agent that has nothing to do",
    "Stop": "end of a turn",
    "StopFailure": "end of a turn by an API error",
    "Elicitation": "start of a wait for the person's input to an MCP server",
    "ElicitationResult": "end of that wait",
    "SessionEnd": "end of the session and its reason, which no file holds",
}
# Event: why nothing is registered for it.
LEFT_OUT = {
    "UserPromptExpansion": "UserPromptSubmit follows with the same prompt id",
    "PostToolBatch": "its calls have ended one by one",
    "MessageDisplay": "one for each piece of text that is shown: content, and no duration",
    "InstructionsLoaded": "no duration, no outcome",
    "PreCompact": "a line on the person's screen for each hook, and the file has the same data",
    "PostCompact": "the same",
    "ConfigChange": "no duration, no outcome",
    "CwdChanged": "no duration, no outcome",
    "DirectoryAdded": "no duration, no outcome",
    "FileChanged": "no duration, no outcome",
    "WorktreeCreate": "a hook of this event has to make the worktree itself",
    "WorktreeRemove": "the other half of WorktreeCreate",
}
# The first two accept no `http` hook. The last one is durable as the first is: once a session, its
# fact stands in no file, and a monitor that is down must not leave the session open.
COMMAND_ONLY = ("SessionStart", "Setup", "SessionEnd")

HOOK_SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "hook.py")
_HOOK_SCRIPT_TAIL = "/orchwatch/agents/claude_code/hook.py"


def entries(mode: Mode, secret: str) -> dict[str, Entry]:
    """The hook to register, by event.

    Args:
        mode: `http` where the event accepts it, or `command` for all.
        secret: What `SECRET_HEADER` carries.
    """
    return {
        event: command_entry(event)
        if mode == "command" or event in COMMAND_ONLY
        else http_entry(secret)
        for event in EVENTS
    }


def http_entry(secret: str) -> Entry:
    """A hook that posts the event to the monitor."""
    return {
        "type": "http",
        "url": hook_url(),
        "headers": {SECRET_HEADER: secret},
        "timeout": HTTP_TIMEOUT_S,
    }


def command_entry(event: str) -> Entry:
    """A hook that appends the event to the spool.

    It is one line for a shell: a version of Claude Code that does not know `args` would start the
    interpreter alone, which then runs the payload as a program. It is not `async`: Claude Code ends
    those that still run when it exits, and with them the end of the last turn. An interpreter whose
    script is gone ends with 2, which blocks the agent: after an uninstallation nothing runs.
    """
    words = [*interpreter(), HOOK_SCRIPT, *own_home()]
    command = f"test ! -r {shlex.quote(HOOK_SCRIPT)} || exec {shlex.join(words)}"
    entry: Entry = {"type": "command", "command": command}
    timeout_s = SESSION_END_TIMEOUT_S if event == "SessionEnd" else COMMAND_TIMEOUT_S
    return {**entry, "timeout": timeout_s}


def interpreter() -> list[str]:
    """This interpreter, by its absolute path, and isolated.

    No variable and no package of the user's can break it, and it starts fastest.
    """
    return [os.path.abspath(sys.executable), "-I", "-S"]


def own_home() -> list[str]:
    """The home where it is not the default one; none where it is.

    What is set now need not be set where Claude Code is started.
    """
    default = os.path.join(os.path.expanduser("~/.local/state"), "orchwatch")
    return [home()] if home() != default else []


def is_own(hook: object) -> bool:
    """Whether a hook in the settings is one of ours, of this installation or of another one."""
    if not isinstance(hook, dict):
        return False
    if hook.get("type") == "http":
        url = hook.get("url")
        return (
            isinstance(url, str)
            and url.startswith(f"http://{MONITOR_HOST}:")
            and url.endswith(HOOK_PATH)
        )
    words = command_words(hook)
    return any(word.endswith(_HOOK_SCRIPT_TAIL) for word in words[:4])


def command_words(hook: Entry) -> list[str]:
    """The words of a command hook; none where it has no command that a shell would accept."""
    command, arguments = hook.get("command"), hook.get("args")
    if not isinstance(command, str):
        return []
    if isinstance(arguments, list):
        return [command, *(word for word in arguments if isinstance(word, str))]
    try:
        return shlex.split(command)
    except ValueError:  # an open quote
        return []


def hook_url() -> str:
    """Where the monitor takes hook events."""
    return f"http://{MONITOR_HOST}:{monitor_port()}{HOOK_PATH}"


def monitor_port() -> int:
    """`ORCHWATCH_MONITOR_PORT` where that is a port, else the default."""
    value = os.environ.get(PORT_VARIABLE)
    if not value:
        return ORCHWATCH_MONITOR_PORT
    if len(value) <= 5 and value.isascii() and value.isdecimal() and 0 < int(value) < 65536:  # noqa: PLR2004 - a port
        return int(value)
    losses.count("bad_setting")
    return ORCHWATCH_MONITOR_PORT


def accepted_hosts(address: str, port: int) -> tuple[str, ...]:
    """The values of `Host` that a request to the monitor may have, in lower case.

    Args:
        address: The address it listens on. On loopback the name of its service is refused: no
            container uses it there, but a web page could have it resolved to loopback.
        port: The port it listens on.
    """
    loopback = (MONITOR_HOST, "localhost")
    hosts = loopback if address in loopback else (*loopback, address.lower(), MONITOR_SERVICE)
    return tuple(f"{host}:{port}" for host in hosts)


def secret_path() -> str:
    """Where the secret lies: one line of hexadecimal digits, readable by the user only."""
    return os.path.join(home(), "hook-secret")


def read_secret() -> str | None:
    """The secret, None where there is none yet.

    Raises:
        SecretError: Its file cannot be read, or is empty.
    """
    return secret_file.read(secret_path())


def make_secret() -> str:
    """The secret, made where there is none.

    Raises:
        SecretError: Its file cannot be read or written.
    """
    return secret_file.make(secret_path())
