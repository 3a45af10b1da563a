"""A person who is asked for permissions: the waits and the answers, three ways."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.claude_client.terminal import terminal
from tests.claude_client.watch import monitor

if TYPE_CHECKING:
    from tests.claude_client.client import Client
    from tests.claude_client.terminal import Terminal
    from tests.claude_client.watch import Span, Watch

ASKED, QUESTION = "Do you want to proceed?", "like the sky"
# How long the person thinks, and by which the client may notice the key later, on a busy machine.
THINKS_S = 4.0
LAG_S = 1.5
WITHIN_S = 60.0


def answered(screen: Terminal, prompt: str, asked: str, key: str) -> float:
    """Has something done that asks, thinks, and presses the key; when that was."""
    screen.type(f"[[{prompt}]] go")
    screen.wait_for(lambda: asked in screen.text)
    time.sleep(THINKS_S)  # it is what is measured
    pressed_s = time.time()
    screen.tmux("send-keys", key)
    screen.wait_for(lambda: asked not in screen.text)
    return pressed_s


def play(client: Client) -> list[float]:
    with terminal(client, asks=True) as screen:
        pressed = [answered(screen, "bash|c=touch allowed", ASKED, "Enter")]
        screen.wait_for(lambda: "● done" in screen.text)
        pressed.append(answered(screen, "question", QUESTION, "Enter"))
        screen.wait_for(lambda: screen.text.count("● done") == 2)
        pressed.append(answered(screen, "bash|c=touch denied", ASKED, "Escape"))
        screen.type("[[bash|c=echo ruled]] go")
        screen.wait_for(lambda: screen.text.count("● done") == 3)
    return pressed


def finished(watch: Watch) -> list[Span]:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        spans = watch.spans()
        if sum(span.name == "execute_tool Bash" for span in spans) == 3:
            return spans
        time.sleep(0.5)
    return watch.spans()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["files", "http", "command"])
def test_a_wait_ends_as_the_person_answers_and_a_no_is_no_failure(
    client: Client, watch: Watch, way: str
) -> None:
    rules = {"permissions": {"deny": ["Bash(echo ruled*)"]}}
    (client.config / "settings.json").write_text(json.dumps(rules))
    if way == "files":
        pressed = play(client)
        watch.run("claude", "import")
        spans = watch.spans()
    else:
        with monitor(watch):
            watch.run("claude", "install", "--hooks", way)
            pressed = play(client)
            spans = finished(watch)

    waits = [span for span in spans if span.name == "user.wait"]
    assert [span.end_s for span in waits] == pytest.approx(pressed, abs=LAG_S)
    assert [span.duration_s for span in waits] == pytest.approx([THINKS_S] * 3, abs=LAG_S)
    assert [span.attributes["orchestration.wait.reason"] for span in waits] == [
        "permission",
        "question",
        "permission",
    ]
    calls = [span for span in spans if span.name == "execute_tool Bash"]
    assert [span.attributes.get("orchestration.outcome") for span in calls] == [
        None,
        "denied_by_user",
        "denied_by_rule",
    ]
    assert max(span.duration_s for span in calls) < LAG_S
    assert not any(span.failed for span in calls)
