"""A hook: agents may read Python files of the library they were given, and nothing else.

Run as a program with the event on standard input. Exit code 2 refuses, with the reason on standard
error.
"""

import json
import sys


def refusal(event: dict[str, object]) -> str | None:
    """Why the event must not happen; None where it may."""
    if event.get("hook_event_name") != "PreToolUse":
        return None
    tool_input = event.get("tool_input")
    files = tool_input.get("files") if isinstance(tool_input, dict) else None
    if not isinstance(files, list) or not files:
        return "tool_input.files must name the files to read"
    for file in files:
        if not isinstance(file, str) or file.startswith("/") or ".." in file.split("/"):
            return f"{file!r} lies outside the library"
        if not file.endswith(".py"):
            return f"{file!r} is no Python source file"
    return None


if __name__ == "__main__":
    reason = refusal(json.load(sys.stdin))
    if reason:
        sys.exit(print(reason, file=sys.stderr) or 2)
