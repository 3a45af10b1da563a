"""Tokens of Codex' requests: input includes what came from the cache, output includes reasoning."""

from __future__ import annotations

from typing import Any

from orchwatch.agents.sessions.facts import ApiUsage
from orchwatch.agents.sessions.fields import count, mapping

_KINDS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)


def fact(
    own: str, model: str, used: dict[str, Any], common: dict[str, Any], *, is_fresh: bool
) -> ApiUsage:
    """What a request used.

    Args:
        own: The request's id.
        model: Which model answered.
        used: The counts as the file has them.
        common: The members of the facts of its record.
        is_fresh: See `ApiUsage`.
    """
    cached = count(used.get("cached_input_tokens"))
    written = count(used.get("cache_write_input_tokens"))
    reasoning = used.get("reasoning_output_tokens")
    return ApiUsage(
        **common,
        message_id=own,
        model=model,
        input_tokens=max(count(used.get("input_tokens")) - cached - written, 0),
        output_tokens=count(used.get("output_tokens")),
        cache_read_tokens=cached,
        cache_creation_tokens=written,
        reasoning_tokens=None if reasoning is None else count(reasoning),
        fresh=is_fresh,
    )


def grown(state: dict[str, Any], info: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """What the thread's total grew by, and the how-manieth growth it is; None if it did not grow.

    The total is written again and again. The first one of a fork holds its parent's, and what the
    last request used is wrong after a compaction: each is taken where it is right.

    Args:
        state: What is kept between records; JSON.
        info: Of a record of tokens.
    """
    total, last = mapping(info.get("total_token_usage")), mapping(info.get("last_token_usage"))
    if not total:
        return None
    now = [count(total.get(kind)) for kind in _KINDS]
    before = state.get("total")
    if now == before:
        return None
    state["total"] = now
    if before is None or any(new < old for new, old in zip(now, before, strict=True)):
        used = {kind: count(last.get(kind)) for kind in _KINDS}
    else:
        used = {kind: new - old for kind, new, old in zip(_KINDS, now, before, strict=True)}
    state["number"] = state.get("number", 0) + 1
    return state["number"], used
