"""How soon after their end the monitor shows what sessions of the real Claude Code client do.

Run by `make bench-freshness`; needs npm. A scripted model answers, the client runs with `-p`, and
each span is looked for in the spool. By way (files alone, http or command hooks) and operation:
seconds from the end that the span tells to the moment when it stands there, at the median and the
99th percentile. On a busy machine the client itself writes late, which counts.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.claude_client.client import Client, install
from tests.claude_client.model_stub import ModelStub
from tests.claude_client.watch import Watch, monitor

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.claude_client.watch import Span

WAYS = ("files", "http", "command")
PROMPTS = (
    "[[text]] hello",
    "[[agent]] one agent",
    "[[agents]] two at once",
    "[[nested]] an agent in an agent",
    "[[bash]] one call",
    "[[refused]] an API error",
)
OPERATIONS = (semconv.AGENT_TURN, semconv.AGENT_RUN, semconv.AGENT_SPAWN, semconv.TOOL_EXECUTE)
WITHIN_S = 2.0  # for turns, runs and spawns, at the 99th percentile
_LOOK_S = 0.02
_REST_S = 5.0


class _Look(threading.Thread):
    """Notes when each span was first there."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(daemon=True)
        self.lags_s: dict[str, list[float]] = defaultdict(list)
        self.ended = threading.Event()
        self._watch = watch
        self._seen: set[str] = set()

    def run(self) -> None:
        while not self.ended.wait(_LOOK_S):
            spans, now_s = self._watch.spans(), time.time()
            self._note([span for span in spans if span.span_id not in self._seen], now_s)

    def _note(self, spans: Iterable[Span], now_s: float) -> None:
        for span in spans:
            self._seen.add(span.span_id)
            operation = str(span.attributes.get(semconv.OPERATION_NAME))
            self.lags_s[operation].append(now_s - span.end_s)


def measure(way: str, rounds: int) -> dict[str, list[float]]:
    """Seconds by operation, for one way of installing."""
    with tempfile.TemporaryDirectory() as directory, ModelStub() as model:
        client = Client(binary=install(), directory=Path(directory) / "user", url=model.url)
        client.prepare()
        watch = Watch(Path(directory) / "home", client)
        with monitor(watch):
            if way != "files":
                watch.run("claude", "install", "--hooks", way)
            time.sleep(_REST_S)  # the monitor has started
            look = _Look(watch)
            look.start()
            for prompt in PROMPTS * rounds:
                client.ask(prompt)
            time.sleep(_REST_S)
            look.ended.set()
            look.join()
    return look.lags_s


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of all prompts")
    rounds = parser.parse_args().rounds
    print(f"{'':10}{'operation':16}{'number':>8}{'median':>8}{'99 %':>8}  within {WITHIN_S:.1f} s")
    for way in WAYS:
        lags_s = measure(way, rounds)
        for operation in OPERATIONS:
            ordered = sorted(lags_s[operation])
            median, late = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
            said = "yes" if late <= WITHIN_S else "no"
            print(
                f"{way:10}{operation:16}{len(ordered):8}{median:8.2f}{late:8.2f}  {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
