"""Tries in another process what may end it, print what it likes, or change it."""

from __future__ import annotations

import subprocess
import sys


def error(program: str, *arguments: str) -> str:
    """What a program of Python says on stderr when it fails, in one line; empty where it does not.

    Args:
        program: Its text.
        arguments: What it finds in `sys.argv`.
    """
    ended = subprocess.run(
        # Not with the working directory on its path, which may be an untrusted checkout.
        [sys.executable, "-P", "-W", "ignore", "-c", program, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if not ended.returncode:
        return ""
    return " ".join(ended.stderr.split()) or f"its process ended with {ended.returncode}"
