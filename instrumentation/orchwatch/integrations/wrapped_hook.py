"""What the launcher of a wrapped hook runs: the hook, as an operation of the turn it belongs to.

`PYTHON -I -S /path/to/orchwatch/integrations/wrapped_hook.py HOME [KEY=VALUE ...] -- COMMAND ...`

The payload on standard input names the turn, so it is read first and then handed on whole. HOME is
for where `ORCHWATCH_HOME` is not set.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDIN = 0
_CHUNK_BYTES = 1 << 16
# The members that say where the hook belongs are short; what makes a payload larger is content.
_MAX_PARSED_BYTES = 8 << 20


def main(words: list[str]) -> int:
    """Runs the hook with what Claude Code wrote for it, and ends as it did.

    Returns:
        Its exit code, or what a shell would report where it could not be started.
    """
    from orchwatch import semconv  # noqa: PLC0415 - needs the path from below
    from orchwatch.integrations import command  # noqa: PLC0415
    from orchwatch.recording.propagation import attach  # noqa: PLC0415

    home, *rest = words
    os.environ.setdefault("ORCHWATCH_HOME", home)
    end = rest.index("--")
    attributes = dict(word.split("=", 1) for word in rest[:end])
    with attach(carrier(_pass_on())):
        try:
            outcome = command.run(
                rest[end + 1 :], operation_name=semconv.HOOK_PROCESS, attributes=attributes
            )
        except command.CommandNotStartedError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return command.end_like(outcome)


def carrier(payload: bytes) -> dict[str, str]:
    """The trace context in which a hook with this payload runs, as headers; empty without one."""
    from orchwatch import semconv  # noqa: PLC0415 - as above
    from orchwatch.agents.sessions import ids  # noqa: PLC0415
    from orchwatch.recording.context import BAGGAGE, TRACEPARENT, format_baggage  # noqa: PLC0415

    members = _members(payload)
    session, prompt, agent, call = [
        value if isinstance(value := members.get(key), str) else ""
        for key in ("session_id", "prompt_id", "agent_id", "tool_use_id")
    ]
    if not session:
        return {}
    baggage = {semconv.SESSION_ID: session, semconv.GEN_AI_CONVERSATION_ID: session}
    headers = {BAGGAGE: format_baggage(baggage)}
    if call:
        parent = ids.tool(session, call)
    elif agent:
        parent = ids.agent_run(session, agent)
    else:
        parent = ids.turn(session, prompt)
    if prompt:  # without one, it belongs to no turn
        headers[TRACEPARENT] = f"00-{ids.trace_id(session, prompt)}-{parent}-01"
    return headers


def _members(payload: bytes) -> dict[str, Any]:
    from orchwatch.recording.json_text import loads  # noqa: PLC0415 - as above

    if len(payload) > _MAX_PARSED_BYTES:
        return {}
    try:
        members = loads(payload.decode())
    except (ValueError, RecursionError):
        return {}
    return members if type(members) is dict else {}


def _pass_on() -> bytes:
    """Reads standard input, and puts it back for the command."""
    if os.isatty(_STDIN):
        return b""
    chunks = []
    try:
        kept = os.memfd_create("hook-payload")
        while chunk := os.read(_STDIN, _CHUNK_BYTES):
            chunks.append(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(kept, view) :]
        os.lseek(kept, 0, os.SEEK_SET)
        os.dup2(kept, _STDIN)
        os.close(kept)
    except OSError:
        # Closed, or a descriptor that cannot be read: the command finds what is there.
        return b""
    return b"".join(chunks)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    sys.exit(main(sys.argv[1:]))
