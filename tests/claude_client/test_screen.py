"""What a person sees of Orchwatch in the client's terminal: nothing that stays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.claude_client.terminal import terminal
from tests.claude_client.watch import monitor

if TYPE_CHECKING:
    from tests.claude_client.client import Client
    from tests.claude_client.model_stub import ModelStub
    from tests.claude_client.watch import Watch

# What stands in the line that turns while the client works, and goes with it.
_WORKING = re.compile(r"\(running \w+ hooks?\b[^\n]*")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["http", "command"])
def test_a_person_sees_no_trace_of_it(
    client: Client, watch: Watch, model: ModelStub, way: str
) -> None:
    with monitor(watch):
        watch.run("claude", "install", "--hooks", way)
        with terminal(client) as screen:
            screen.type(f"[[tools|dir={client.project}]] several calls")
            screen.wait_for(lambda: "● done" in screen.text)
            screen.type("[[agent]] one agent")
            screen.wait_for(lambda: "● noted" in screen.text)
            screen.type("/compact")
            screen.wait_for(lambda: "Compacted" in screen.text)
            screen.type("[[text]] goodbye")
            screen.wait_for(lambda: "● Hello." in screen.text)
            shown = _WORKING.sub("", screen.text)

    assert any("summary of the conversation" in request.text for request in model.requests())
    assert "hook" not in shown.lower(), shown
    assert "completed successfully" not in shown, shown
