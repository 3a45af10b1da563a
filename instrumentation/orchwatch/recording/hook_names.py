"""What to call a hook of which only its command is known."""

from __future__ import annotations

import os
import re

UNNAMED = "shell"
PLAIN = re.compile(r"[\w.+@-]{1,64}")

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SCRIPT = re.compile(r"[\w.+@-]{1,58}\.(?:py|sh|bash|zsh|js|mjs|cjs|ts|rb|pl|php|lua)")
# What is handed a script to run: the hook is that script.
_RUNNERS = re.compile(
    r"(?:python|pypy|node|ruby|perl|php|lua)[\d.]*"
    r"|sh|bash|dash|zsh|ksh|bun|deno|tsx|ts-node|npx|uv|uvx|poetry|pipenv|env|exec|nice|timeout|time"
)


def of_command(words: list[str]) -> str:
    """Its script's or else its program's base name, never an argument."""
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return UNNAMED
    program = os.path.basename(words[0])
    for word in words[1:] if _RUNNERS.fullmatch(program) else ():
        if word in ("-c", "-e", "-m"):  # what follows is a program, and no file
            break
        name = os.path.basename(word)
        if _SCRIPT.fullmatch(name):
            return name
    return program if PLAIN.fullmatch(program) else UNNAMED
