"""What hooks cost the client, as a ratio within one run; that they cost no request is asserted."""

from __future__ import annotations

import os
import resource
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from tests.claude_client.watch import monitor

if TYPE_CHECKING:
    from tests.claude_client.client import Client
    from tests.claude_client.model_stub import ModelStub
    from tests.claude_client.watch import Watch

ROUNDS = int(os.environ.get("ORCHWATCH_TEST_ROUNDS", "8"))
# A model that thinks as long as a quick one does.
PROMPT = "[[bash|think=1.5]] one call"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", ["http", "command"])
def test_hooks_cost_the_client_no_request_and_little_time(
    client: Client,
    watch: Watch,
    model: ModelStub,
    way: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monitor(watch):
        watch.run("claude", "install", "--hooks", way)
        hooked = (client.config / "settings.json").read_bytes()
        client.ask(PROMPT)
        took_s: dict[bytes, list[float]] = {hooked: [], b"{}": []}
        used_s: dict[bytes, list[float]] = {hooked: [], b"{}": []}
        asked: dict[bytes, int] = dict.fromkeys(took_s, 0)
        for number in range(2 * ROUNDS):
            settings = (hooked, b"{}")[(number + number // 2) % 2]  # neither is always first
            (client.config / "settings.json").write_bytes(settings)
            before = len(model.requests())
            used_before_s = _processor_s()
            started_s = time.monotonic()
            assert not client.ask(PROMPT).returncode
            took_s[settings].append(time.monotonic() - started_s)
            used_s[settings].append(_processor_s() - used_before_s)
            asked[settings] += len(model.requests()) - before

    with capsys.disabled():
        for what, figures in (("lasts", took_s), ("takes of the processor", used_s)):
            with_hooks, without = (statistics.median(figures[key]) for key in (hooked, b"{}"))
            print(f"\n{way} hooks: a session {what} {with_hooks:.3f} s, {without:.3f} s without:")
            print(f"{with_hooks / without:.3f} (medians of {ROUNDS})")
    assert asked[hooked] == asked[b"{}"] == 2 * ROUNDS


def _processor_s() -> float:
    """What the client and its hooks have used so far; not so what others do at the same time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
