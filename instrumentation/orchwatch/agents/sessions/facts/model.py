"""Requests to the model: what they used and cost, and summaries of the conversation."""

from __future__ import annotations

from orchwatch.agents.sessions.facts.base import Fact, fact


@fact
class ApiUsage(Fact):
    """What a request to the model used; reported with each part of its answer, the last one holds.

    Attributes:
        message_id: The answer's id.
        model: Which model answered.
        input_tokens: Without the two kinds of cached ones; the span's sum holds all three.
        output_tokens: All output, reasoning too.
        cache_read_tokens: Input that came from the cache.
        cache_creation_tokens: Input that went to the cache.
        reasoning_tokens: How many of the output tokens were no part of the answer; None where the
            source does not say.
        fresh: Nothing of it was read before. If the span of its turn was written already, it
            makes one of its own.
    """

    message_id: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    reasoning_tokens: int | None = None
    fresh: bool = False


@fact
class ModelAnswered(Fact):
    """A request to the model was answered, or its answer was cut off.

    Attributes:
        record_id: The request's own id.
        start_ns: When it was sent, Unix time in nanoseconds.
        model: Which model answered.
        request_id: By which name the API knows it.
        outcome: Why the answer is not whole.
        first_ns: After how long the first part of it came, where the source says so.
    """

    record_id: str
    start_ns: int
    model: str
    request_id: str = ""
    outcome: str = ""
    first_ns: int | None = None


@fact
class ApiFailed(Fact):
    """A request to the model failed.

    Attributes:
        record_id: The record's own id.
        error_type: Why.
        attempt: Which retry follows, 0 when none does.
        delay_s: How long that one waits.
        status: The answer's HTTP status, 0 where there was none.
        attempts: How often it was asked in all before it was given up, where that is known.
    """

    record_id: str
    error_type: str
    status: int = 0
    attempts: int = 0
    attempt: int = 0
    delay_s: float = 0.0


@fact
class SessionCost(Fact):
    """What a process of Claude Code has cost by its end, which is about `time_ns`.

    Attributes:
        record_id: The record's own id.
        cost_usd: In US dollars.
        api_ns: How long requests to models took, added up.
        tools_ns: How long tool calls took, added up.
        models: The cost of each model.
    """

    record_id: str
    cost_usd: float
    api_ns: int
    tools_ns: int
    models: dict[str, float]


@fact
class CompactStarted(Fact):
    """The conversation is being summarised."""


@fact
class Compacted(Fact):
    """The conversation was summarised.

    Attributes:
        record_id: The record's own id.
        trigger: `auto`, `manual` or `MICRO`; empty where unknown.
        tokens: How many there were before.
        duration_ns: How long it took, where the source says so.
    """

    record_id: str
    trigger: str = ""
    tokens: int = 0
    duration_ns: int | None = None
