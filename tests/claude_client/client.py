"""The real Claude Code client, pinned, with nothing of this machine's and nothing leaving it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HERE = Path(__file__).parent
_BINARY = "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
_TIMEOUT_S = 120


def install() -> Path:
    """The client's binary, installed once by npm into a cache that is named by the lock file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = (_HERE / "package-lock.json").read_bytes()
    place = cache / "orchwatch" / "claude-code" / hashlib.sha256(lock).hexdigest()[:12]
    binary = place / _BINARY
    if not binary.exists():
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, place / name)
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, check=True
        )
    return binary


@dataclass(frozen=True, kw_only=True)
class Client:
    """One user's client: its settings, sessions and projects below `directory`."""

    binary: Path
    directory: Path
    url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """`CLAUDE_CONFIG_DIR`."""
        return self.directory / "config"

    @property
    def project(self) -> Path:
        """Where the sessions run."""
        return self.directory / "project"

    def prepare(self) -> None:
        """Makes the directories."""
        self.config.mkdir(parents=True)
        self.project.mkdir()

    def variables(self) -> dict[str, str]:
        """The whole environment of the client."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "CLAUDE_CONFIG_DIR": str(self.config),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "TZ": "UTC",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "stub-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
            "IS_SANDBOX": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **self.environment,
        }

    def ask(self, prompt: str, *options: str) -> subprocess.CompletedProcess[str]:
        """`claude -p`, to its end; tools need no permission."""
        return subprocess.run(
            [self.binary, "-p", prompt, "--dangerously-skip-permissions", *options],
            cwd=self.project,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
