"""What the client hands its hooks and tools in confidence stands in nothing of Orchwatch's."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import pytest
from tests.claude_client.watch import ORCHWATCH, monitor

if TYPE_CHECKING:
    from tests.claude_client.client import Client
    from tests.claude_client.watch import Watch

SECRETS = ("CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDE_CODE_MESSAGING_SOCKET")
PROGRAM = """
import os
import orchwatch

orchwatch.configure()
with orchwatch.operation("asks"):
    pass
with orchwatch.operation("fails"):
    raise RuntimeError("no answer for " + os.environ["CLAUDE_CODE_MESSAGING_TOKEN"])
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["http", "command"])
def test_the_secrets_of_its_environment_stand_nowhere(
    client: Client, watch: Watch, way: str
) -> None:
    witness = client.directory / "environment"
    hook = f"env >> {witness}; env >&2; exit 1"
    hooks = {
        event: [{"hooks": [{"type": "command", "command": hook}]}]
        for event in ("SessionStart", "PreToolUse", "Stop", "SessionEnd")
    }
    (client.config / "settings.json").write_text(json.dumps({"hooks": hooks}))
    program = client.project / "program.py"
    program.write_text(PROGRAM)
    home = f"ORCHWATCH_HOME={watch.home}"
    plain = shlex.join([sys.executable, str(program)])
    with monitor(watch):
        watch.run("claude", "install", "--wrap", "--hooks", way)
        commands = f"env {home} {plain}; env {home} {ORCHWATCH} run -- {plain}; env >> {witness}"
        words = ["-p", f"[[bash|c={commands}]] look", "--dangerously-skip-permissions"]
        watch.run("run", "--", str(client.binary), *words)

    told = [
        line.partition("=")[2]
        for line in witness.read_text().splitlines()
        if line.startswith(SECRETS)
    ]
    assert len(set(told)) >= len(SECRETS)
    assert "fails" in {span.name for span in watch.spans()}
    kept = {path: path.read_bytes() for path in watch.home.rglob("*") if path.is_file()}
    kept[watch.log] = watch.log.read_bytes()
    assert not [
        (path, secret)
        for path, content in kept.items()
        for secret in set(told)
        if secret.encode() in content
    ]
