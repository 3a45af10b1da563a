"""Operations as agents leave them, written as spool segments, as many as a benchmark wants."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT_BYTES = 8 * 1024 * 1024

_NS = 1_000_000_000
_AGENTS = 4
_RESOURCE = {
    "attributes": [
        {"key": "service.name", "value": {"stringValue": "orchestration"}},
        {"key": "process.pid", "value": {"intValue": "4194303"}},
        {"key": "host.name", "value": {"stringValue": "bench"}},
    ]
}
_SCOPE = {"name": "orchwatch", "version": "1"}
# What an agent does while it works on a task, and how long that takes, in seconds.
_WORK = (
    ("state.query", 0.002),
    ("tool.execute", 0.4),
    ("hook.process", 0.03),
    ("event.process", 0.001),
    ("message.deliver", 0.01),
    ("state.persist", 0.02),
    ("state.query", 0.004),
)


def segments(count: int, *, end_ns: int, length_s: float, seed: int = 1) -> Iterator[bytes]:
    """Whole segments that hold that many operations.

    Sessions of four agents each follow one another; an agent's task holds what it does. One in 500
    fails.

    Args:
        count: How many operations.
        end_ns: When the last one ends, about, in Unix nanoseconds.
        length_s: How long before that the first one begins.
        seed: What names and durations are drawn by.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    text, size = [_header(0)], 0
    number = 0
    for one in _lines(count, draw, end_ns - int(length_s * _NS), length_s * _NS / count):
        text.append(one)
        size += len(one) + 1
        if size >= SEGMENT_BYTES:
            yield ("\n".join(text) + "\n").encode()
            number += 1
            text, size = [_header(number)], 0
    yield ("\n".join(text) + "\n").encode()


def write(home: Path, number: int, content: bytes) -> Path:
    """Puts a segment where the spool would have it."""
    spool = home / "spool"
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = spool / f"operations-{number:06}.jsonl"
    path.write_bytes(content)
    return path


def _header(number: int) -> str:
    identity = hashlib.sha256(f"bench {number}".encode()).hexdigest()[:32]
    return json.dumps({"orchwatch": {"id": identity}, "resourceSpans": []})


def _lines(count: int, draw: random.Random, start_ns: int, step_ns: float) -> Iterator[str]:
    """One task after the other, four agents in turns, so that they overlap."""
    done = 0
    while done < count:
        session = str(draw.getrandbits(64))
        for task in range(25 * _AGENTS):
            trace_id, root = f"{draw.getrandbits(128):032x}", f"{draw.getrandbits(64):016x}"
            agent = f"worker-{task % _AGENTS}"
            began_ns = at_ns = start_ns + int(done * step_ns)
            for name, typical_s in _WORK:
                if done == count:
                    return
                duration_ns = int(draw.lognormvariate(0, 0.5) * typical_s * _NS)
                place = trace_id, f"{draw.getrandbits(64):016x}", root
                failed = draw.random() < 0.002  # noqa: PLR2004 - one in 500
                times = (at_ns, at_ns + duration_ns)
                yield line(place, name, times, (session, agent), failed=failed)
                at_ns += duration_ns
                done += 1
            if done == count:
                return
            place = trace_id, root, ""
            failed = draw.random() < 0.002  # noqa: PLR2004 - as above
            yield line(place, "agent.task", (began_ns, at_ns), (session, agent), failed=failed)
            done += 1


def segment(number: int, lines: list[str]) -> bytes:
    """A whole segment of these lines."""
    return ("\n".join([_header(number), *lines]) + "\n").encode()


def line(
    place: tuple[str, str, str],
    name: str,
    times: tuple[int, int],
    who: tuple[str, str],
    *,
    failed: bool = False,
) -> str:
    """One span.

    Args:
        place: The ids of trace, span and parent, empty where there is none.
        name: Of the operation.
        times: When it started and ended, in Unix nanoseconds.
        who: Session and agent.
        failed: Whether it did.
    """
    attributes = {
        "orchestration.operation.name": name,
        "session.id": who[0],
        "gen_ai.agent.name": who[1],
        **({"error.type": "TimeoutError"} if failed else {}),
    }
    span = {
        "traceId": place[0],
        "spanId": place[1],
        "parentSpanId": place[2],
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": [
            {"key": key, "value": {"stringValue": value}} for key, value in attributes.items()
        ],
        "status": {"code": 2 if failed else 1},
    }
    scopes = [{"scope": _SCOPE, "spans": [span]}]
    return json.dumps(
        {"resourceSpans": [{"resource": _RESOURCE, "scopeSpans": scopes}]}, separators=(",", ":")
    )
