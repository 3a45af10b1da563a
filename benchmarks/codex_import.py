"""How fast Codex' rollouts are imported, as a multiple of parsing their lines; `make bench-agents`.

A rollout is made of turns as Codex 0.171 writes them, and imported into an empty home: once with
long lines, once with short ones, of which each costs as much. Its lines are also parsed as JSON and
nothing else, in the same run: what a reader cannot do without.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# How long an output is, and so most lines; and how many bytes of such lines.
SIZES = {3000: 60_000_000, 100: 20_000_000}
TURN_S = 10
START_S = 1_780_000_000


def _thread(second: int, number: int) -> str:
    digits = f"{(START_S + second) * 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012x}"


def write(path: Path, length: int) -> None:
    """Turns with four calls each, whose outputs are that long."""
    output = "x" * length
    ordinal = 0
    thread = _thread(0, 1)
    with path.open("w") as file:

        def line(second: float, kind: str, **payload: object) -> None:
            nonlocal ordinal
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(START_S + int(second)))
            whole = {
                "timestamp": f"{stamp}.{int(second % 1 * 1000):03}Z",
                "ordinal": ordinal,
                "type": kind,
                "payload": payload,
            }
            file.write(json.dumps(whole) + "\n")
            ordinal += 1

        meta = {"id": thread, "session_id": thread, "history_mode": "paginated"}
        line(0, "session_meta", **meta, cli_version="0.171.0", model_provider="openai")
        number = 0
        while file.tell() < SIZES[length]:
            at, turn = number * TURN_S, _thread(number * TURN_S, number)
            number += 1
            line(at, "event_msg", type="task_started", turn_id=turn)
            line(at, "turn_context", turn_id=turn, model="gpt-5.5")
            for step in range(4):
                call = f"call_{number}_{step}"
                begun = at + 1 + 2 * step
                line(
                    begun,
                    "response_item",
                    type="function_call",
                    name="exec_command",
                    call_id=call,
                    arguments=output[:300],
                )
                usage = {"input_tokens": 5000, "cached_input_tokens": 4000, "output_tokens": 100}
                line(
                    begun,
                    "token_usage_record",
                    turn_id=turn,
                    usage=usage,
                    response_id=f"resp_{call}",
                )
                item = {"type": "CommandExecution", "id": call, "exit_code": 0}
                item |= {"aggregated_output": output}
                line(
                    begun + 1,
                    "event_msg",
                    type="item_completed",
                    turn_id=turn,
                    item=item,
                    started_at_ms=(START_S + begun) * 1000,
                    completed_at_ms=(START_S + begun + 1) * 1000,
                )
                line(
                    begun + 1,
                    "response_item",
                    type="function_call_output",
                    call_id=call,
                    output=output,
                )
            line(at + 9, "event_msg", type="task_complete", turn_id=turn)


def main() -> int:
    """Prints the figures."""
    for length in SIZES:
        measure(length)
    return 0


def measure(length: int) -> None:
    """Prints those of lines that long."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"rollout-2026-05-28T00-00-00-{_thread(0, 1)}.jsonl"
        write(path, length)
        size = path.stat().st_size
        begun = time.process_time()
        with path.open("rb") as file:
            for line in file:
                json.loads(line)
        parsed_s = time.process_time() - begun
        command = [sys.executable, "-m", "orchwatch.cli", "import", str(path), "--format", "json"]
        environment = {**os.environ, "ORCHWATCH_HOME": str(Path(directory) / "home")}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        import_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        added = json.loads(done.stdout)
    speed = size / import_s
    sys.stdout.write(
        f"{size / 1e6:.0f} MB with outputs of {length} bytes, {added['turns']} turns,"
        f" {sum(added['tools'].values())} tool calls\n"
        f"parsing the lines      {size / parsed_s / 1e6:6.0f} MB/s\n"
        f"orchwatch import       {speed / 1e6:6.0f} MB/s, {import_s / parsed_s:.1f} x parsing,"
        f" {used.ru_maxrss / 1024:.0f} MiB at most\n"
    )


if __name__ == "__main__":
    sys.exit(main())
