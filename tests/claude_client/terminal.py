"""The client as a person runs it: in a terminal (tmux), typed into, its screen read."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.claude_client.client import Client

_WITHIN_S = 120.0
_PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
_SIZE = ("-x", "160", "-y", "50")


class Terminal:
    """A tmux server of its own, with the client in it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        """One command of tmux; what it prints."""
        return subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    @property
    def text(self) -> str:
        """What stands there now, and what has scrolled away."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-")

    def type(self, words: str) -> None:
        """Types a line; the client takes what comes in one piece for something pasted."""
        self.tmux("send-keys", "-l", words)
        self.wait_for(lambda: words[-20:] in self.text)
        self.tmux("send-keys", "Enter")

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Waits until it is so."""
        deadline = time.monotonic() + _WITHIN_S
        while not done():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.2)


@contextmanager
def terminal(client: Client, *, asks: bool = False) -> Iterator[Terminal]:
    """A session in a terminal that has nothing to ask first.

    Args:
        client: Which client.
        asks: Whether it asks for permissions, as its settings say; otherwise tools need none.
    """
    known = {
        "hasCompletedOnboarding": True,
        "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": ["stub-key"], "rejected": []},
        "projects": {str(client.project): {"hasTrustDialogAccepted": True}},
    }
    (client.config / ".claude.json").write_text(json.dumps(known))
    variables = [f"{name}={value}" for name, value in client.variables().items()]
    words = ["env", "-i", *variables, str(client.binary)]
    words += ["--permission-mode", "default"] if asks else ["--dangerously-skip-permissions"]
    found = Terminal(client.directory / "tmux")
    command = shlex.join(words)
    found.tmux("new-session", "-d", *_SIZE, "-c", str(client.project), command)
    try:
        found.wait_for(lambda: _PROMPT in found.text)
        yield found
    finally:
        found.tmux("kill-server")
