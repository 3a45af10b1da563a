"""Finished spans: what they carry, and how they are written as OTLP/JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch import semconv
from orchwatch.agents.sessions import ids
from orchwatch.agents.sessions.facts import (
    INTERRUPTED,
    ApiFailed,
    CommandRan,
    Compacted,
    Fact,
    HookRan,
    ModelAnswered,
    SessionCost,
)
from orchwatch.recording.otlp_json import (
    LINE_SUFFIX,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    clean_attributes,
    encode_attributes,
    encode_span,
    quote,
    spans_prefix,
    to_bytes,
)
from orchwatch.recording.resources import resource_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.agents.sessions.entities import Agent, Call, Task, Tool, Turn
    from orchwatch.agents.sessions.lifecycle import Usage
    from orchwatch.recording.otlp_json import AttributeValue

NS_PER_S = 1_000_000_000

NOT_COUNTED = ""  # the operation of a span without one: the Collector stores it, and counts none
_SPANS_PER_LINE = 50
_UNKNOWN = "unknown"


class Span(NamedTuple):
    """A finished span. Ids are hexadecimal, times Unix nanoseconds; the end is never before.

    `operation` is empty where no duration is known: then it is shown, but not counted.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    operation: str
    start_ns: int
    end_ns: int
    attributes: dict[str, AttributeValue]
    error_type: str = ""

    def of_session(self, name: str, project: str, provider: str) -> Span:
        """The same, with the names of its session, of its project, and of whose models it asks."""
        more: dict[str, AttributeValue] = {}
        if name:
            more[semconv.SESSION_NAME] = name
        if project:
            more[semconv.PROJECT_NAME] = project
        if provider and self.name.startswith((semconv.AGENT_TURN, semconv.INVOKE_AGENT)):
            more[semconv.GEN_AI_PROVIDER_NAME] = provider
        return self._replace(attributes={**self.attributes, **more}) if more else self

    @property
    def status(self) -> int:
        """OTLP's code: what was denied or interrupted has neither succeeded nor failed."""
        if self.error_type:
            return STATUS_ERROR
        return STATUS_UNSET if semconv.OUTCOME in self.attributes else STATUS_OK


def encode(spans: Sequence[Span], service: str) -> list[bytes]:
    """Whole lines for the spool, several spans in each.

    Args:
        spans: The spans.
        service: The agent that they are about, as `service.name`.
    """
    told = resource_attributes(service)
    if service != semconv.CLAUDE_CODE_SERVICE:
        del told[semconv.PROCESS_PID]  # of who writes this, not of the agent
    resource = encode_attributes(told)
    prefix = spans_prefix(resource)
    return [
        to_bytes(prefix + ",".join(map(_encode, spans[start : start + _SPANS_PER_LINE])))
        + LINE_SUFFIX.encode()
        for start in range(0, len(spans), _SPANS_PER_LINE)
    ]


def _encode(span: Span) -> str:
    attributes: dict[str, AttributeValue] = {}
    if span.operation:
        attributes[semconv.OPERATION_NAME] = span.operation
    attributes.update(clean_attributes(span.attributes))
    if span.error_type:
        attributes[semconv.ERROR_TYPE] = span.error_type
    return encode_span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=quote(span.name),
        start_ns=span.start_ns,
        end_ns=max(span.start_ns, span.end_ns),
        attributes=encode_attributes(attributes),
        status=span.status,
    )


class Place(NamedTuple):
    """Where a span belongs.

    Attributes:
        session_id: Its session.
        prompt_id: Its trace: the user's prompt, empty for what no turn holds.
        parent: The span id above it.
        agent_id: The sub-agent in which it happened.
        agent_type: That one's type.
    """

    session_id: str
    prompt_id: str
    parent: str
    agent_id: str | None = None
    agent_type: str = ""

    @property
    def trace_id(self) -> str:
        return ids.trace_id(self.session_id, self.prompt_id)

    def attributes(self) -> dict[str, AttributeValue]:
        """What every span of the place carries."""
        attributes: dict[str, AttributeValue] = {
            semconv.SESSION_ID: self.session_id,
            semconv.GEN_AI_CONVERSATION_ID: self.session_id,
        }
        if self.agent_id:
            attributes[semconv.GEN_AI_AGENT_ID] = self.agent_id
            if self.agent_type:
                attributes[semconv.GEN_AI_AGENT_NAME] = self.agent_type
        return attributes


def session_init(session_id: str, start_ns: int, ready_ns: int) -> Span:
    """From the start of Claude Code until it can be asked for something."""
    place = Place(session_id, "", "")
    span_id = ids.session_init(session_id)
    operation = semconv.SESSION_INIT
    return _span(place, span_id, operation, operation, start_ns, ready_ns)


def turn(place: Place, turn: Turn, end_ns: int, error_type: str, reason: str) -> Span:
    """A turn of the session, or of the sub-agent that the place names."""
    prompt_id = turn.part_of or turn.prompt_id
    if turn.agent_id:
        span_id = ids.agent_turn(place.session_id, turn.agent_id, turn.prompt_id)
    else:
        span_id = ids.turn(place.session_id, turn.prompt_id)
    more: dict[str, AttributeValue] = {
        semconv.PROMPT_ID: prompt_id,
        **_usage(turn.usage),
        **_unfinished(reason),
    }
    if turn.previous:
        more[semconv.SESSION_PREVIOUS_ID] = turn.previous
    if turn.first_ns is not None:
        more[semconv.GEN_AI_TIME_TO_FIRST_CHUNK] = turn.first_ns / NS_PER_S
    # A sub-agent's turns are parts of its run: counted, they would count twice as turns.
    operation = NOT_COUNTED if turn.agent_id else semconv.AGENT_TURN
    span = _span(place, span_id, semconv.AGENT_TURN, operation, turn.start_ns, end_ns, more)
    return span._replace(error_type=error_type)


def agent_run(place: Place, agent: Agent, end_ns: int, error_type: str, reason: str) -> Span:
    """A sub-agent's life, from its first sign to its end."""
    more: dict[str, AttributeValue] = {
        semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_AGENT,
        **_usage(agent.usage),
        **_unfinished(reason),
    }
    span_id = ids.agent_run(place.session_id, agent.part or agent.agent_id)
    name = f"{semconv.INVOKE_AGENT} {place.agent_type}".rstrip()
    span = _span(place, span_id, name, semconv.AGENT_RUN, agent.start_ns, end_ns, more)
    return span._replace(error_type=error_type)


def agent_spawn(place: Place, agent: Agent, call: Call) -> Span:
    """From the call to the sub-agent's first sign of work."""
    span_id = ids.agent_spawn(place.session_id, agent.agent_id)
    operation = semconv.AGENT_SPAWN
    return _span(place, span_id, operation, operation, call.start_ns, agent.worked_ns)


def tool(place: Place, tool: Tool, end_ns: int, reason: str) -> Span:
    """A tool call."""
    more: dict[str, AttributeValue] = {
        semconv.GEN_AI_OPERATION_NAME: semconv.EXECUTE_TOOL,
        semconv.GEN_AI_TOOL_NAME: tool.name,
        semconv.GEN_AI_TOOL_CALL_ID: tool.tool_use_id,
        **_unfinished(reason),
    }
    if tool.exit_code is not None:
        more[semconv.PROCESS_EXIT_CODE] = tool.exit_code
    outcome = tool.outcome or (semconv.INTERRUPTED if reason == INTERRUPTED else "")
    if outcome:
        more[semconv.OUTCOME] = outcome
    span_id = ids.tool(place.session_id, tool.tool_use_id)
    name = f"{semconv.EXECUTE_TOOL} {tool.name}"
    span = _span(place, span_id, name, semconv.TOOL_EXECUTE, tool.start_ns, end_ns, more)
    return span._replace(error_type="" if outcome else tool.error_type)


def user_wait(  # noqa: PLR0917 - what a wait is
    place: Place, asked_id: str, reason: str, start_ns: int, end_ns: int, tool_use_id: str = ""
) -> Span:
    """The time in which a person is waited for, beside the tool call that waits if one does."""
    more: dict[str, AttributeValue] = {semconv.WAIT_REASON: reason}
    if tool_use_id:
        more[semconv.GEN_AI_TOOL_CALL_ID] = tool_use_id
    span_id = ids.wait(place.session_id, asked_id)
    return _span(place, span_id, semconv.USER_WAIT, semconv.USER_WAIT, start_ns, end_ns, more)


def task(place: Place, task_id: str, task: Task, end_ns: int, reason: str) -> Span:
    """An entry of the session's task list, created to completed."""
    more = {semconv.TASK_ID: task_id, **_unfinished(reason)}
    span_id = ids.event("task", place.session_id, task_id)
    operation = semconv.AGENT_TASK if task.created_ns else ""
    start_ns = task.created_ns or end_ns
    return _span(place, span_id, semconv.AGENT_TASK, operation, start_ns, end_ns, more)


def event(place: Place, fact: Fact, compact_starts: Sequence[int]) -> Span:
    """An event that a single record describes: a hook, a compaction, a request to the model."""
    if isinstance(fact, HookRan):
        return _hook(place, fact)
    if isinstance(fact, Compacted):
        return _compaction(place, fact, compact_starts)
    if isinstance(fact, ModelAnswered):
        return _request(place, fact)
    if isinstance(fact, SessionCost):
        return _cost(place, fact)
    if isinstance(fact, CommandRan):
        return _command(place, fact)
    assert isinstance(fact, ApiFailed)
    more: dict[str, AttributeValue] = {}
    if fact.attempt:
        more = {semconv.RETRY_ATTEMPT: fact.attempt, semconv.RETRY_DELAY: fact.delay_s}
    if fact.status:
        more[semconv.HTTP_RESPONSE_STATUS_CODE] = fact.status
    if fact.attempts:
        more[semconv.API_ATTEMPTS] = fact.attempts
    span_id = ids.event("api.error", place.session_id, fact.record_id)
    at = fact.time_ns
    span = _span(place, span_id, semconv.API_ERROR, semconv.API_ERROR, at, at, more)
    return span._replace(error_type=fact.error_type)


def _request(place: Place, fact: ModelAnswered) -> Span:
    """No operation of its own: what it used is counted with its turn."""
    more: dict[str, AttributeValue] = {
        semconv.GEN_AI_OPERATION_NAME: semconv.CHAT,
        semconv.GEN_AI_REQUEST_MODEL: fact.model,
    }
    if fact.request_id:
        more[semconv.GEN_AI_RESPONSE_ID] = fact.request_id
    if fact.outcome:
        more[semconv.OUTCOME] = fact.outcome
    if fact.first_ns is not None:
        more[semconv.GEN_AI_TIME_TO_FIRST_CHUNK] = fact.first_ns / NS_PER_S
    span_id = ids.event(semconv.CHAT, place.session_id, fact.record_id)
    return _span(
        place, span_id, f"{semconv.CHAT} {fact.model}", "", fact.start_ns, fact.time_ns, more
    )


def _command(place: Place, fact: CommandRan) -> Span:
    """No operation that is counted: its time is its tool call's."""
    more: dict[str, AttributeValue] = {}
    if fact.tool_use_id:
        more[semconv.GEN_AI_TOOL_CALL_ID] = fact.tool_use_id
    if fact.exit_code is not None:
        more[semconv.PROCESS_EXIT_CODE] = fact.exit_code
    span_id = ids.event("command", place.session_id, fact.record_id)
    span = _span(place, span_id, fact.name, NOT_COUNTED, fact.time_ns, fact.end_ns, more)
    return span._replace(error_type=fact.error_type)


def _cost(place: Place, fact: SessionCost) -> Span:
    """No duration: it says what a whole process of the session has cost, as that one ends."""
    more: dict[str, AttributeValue] = {
        semconv.SESSION_COST_USD: fact.cost_usd,
        semconv.SESSION_API_TIME: fact.api_ns / NS_PER_S,
        semconv.SESSION_TOOLS_TIME: fact.tools_ns / NS_PER_S,
        semconv.SESSION_MODELS: list(fact.models),
        semconv.SESSION_MODEL_COSTS: list(fact.models.values()),
    }
    span_id = ids.event("session.cost", place.session_id, fact.record_id)
    at = fact.time_ns
    return _span(place, span_id, semconv.SESSION_COST, "", at, at, more)


def _hook(place: Place, hook: HookRan) -> Span:
    more: dict[str, AttributeValue] = {
        semconv.HOOK_EVENT_NAME: hook.event,
        semconv.HOOK_NAME: hook.name,
    }
    if hook.plugin:
        more[semconv.HOOK_PLUGIN] = hook.plugin
    if hook.tool_use_id:
        more[semconv.GEN_AI_TOOL_CALL_ID] = hook.tool_use_id
    if hook.blocked:
        more[semconv.HOOK_OUTCOME] = semconv.HOOK_BLOCKED
    span_id = ids.event("hook", place.session_id, hook.record_id)
    operation = NOT_COUNTED if hook.end_ns is None else semconv.HOOK_PROCESS
    end_ns = hook.time_ns if hook.end_ns is None else hook.end_ns
    span = _span(place, span_id, semconv.HOOK_PROCESS, operation, hook.time_ns, end_ns, more)
    return span._replace(error_type=hook.error_type or "")


def _compaction(place: Place, fact: Compacted, compact_starts: Sequence[int]) -> Span:
    end_ns = fact.time_ns
    earlier = [start_ns for start_ns in compact_starts if start_ns <= end_ns]
    start_ns = end_ns
    if fact.duration_ns is not None:
        start_ns = end_ns - fact.duration_ns
    elif earlier:
        start_ns = max(earlier)
    more: dict[str, AttributeValue] = {}
    if fact.trigger:
        more[semconv.COMPACT_TRIGGER] = fact.trigger
    if fact.tokens:
        more[semconv.COMPACT_TOKENS] = fact.tokens
    span_id = ids.event("compact", place.session_id, fact.record_id)
    operation = semconv.CONTEXT_COMPACT if start_ns < end_ns else ""
    return _span(place, span_id, semconv.CONTEXT_COMPACT, operation, start_ns, end_ns, more)


def _usage(usage: Usage) -> dict[str, AttributeValue]:
    """By the GenAI conventions, whose input tokens include the cached ones."""
    if not usage.requests:
        return {}
    fresh, output, cache_read, cache_creation, reasoning = usage.sums()
    model = usage.model or _UNKNOWN  # tokens of no model would be counted nowhere
    counted: dict[str, AttributeValue] = {
        semconv.GEN_AI_REQUEST_MODEL: model,
        semconv.GEN_AI_RESPONSE_MODEL: model,
        semconv.API_REQUESTS: usage.requests,
        semconv.GEN_AI_USAGE_INPUT_TOKENS: fresh + cache_read + cache_creation,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS: output,
        semconv.GEN_AI_USAGE_CACHE_READ_TOKENS: cache_read,
        semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS: cache_creation,
        semconv.GEN_AI_USAGE_CACHE_CREATION_TOKENS: cache_creation,
    }
    if usage.reasons:
        counted[semconv.GEN_AI_USAGE_REASONING_TOKENS] = reasoning
    return {**counted, **_of_models(usage)}


def _of_models(usage: Usage) -> dict[str, AttributeValue]:
    """What each model used, where there were several."""
    found = usage.by_model()
    if len(found) < 2:  # noqa: PLR2004 - several
        return {}
    used: dict[str, list[int]] = {name: [] for name in semconv.USAGE_OF_MODELS.values()}
    for requests, fresh, output, cache_read, cache_creation, reasoning in found.values():
        whole = fresh + cache_read + cache_creation
        counts = (requests, whole, cache_read, cache_creation, output, reasoning)
        for name, number in zip(used, counts, strict=True):
            used[name].append(number)
    return {semconv.USAGE_MODELS: list(found), **used}


def _unfinished(reason: str) -> dict[str, AttributeValue]:
    return {semconv.UNFINISHED_REASON: reason} if reason else {}


def _span(  # noqa: PLR0917 - the last one is what most spans lack
    place: Place,
    span_id: str,
    name: str,
    operation: str,
    start_ns: int,
    end_ns: int,
    more: dict[str, AttributeValue] | None = None,
) -> Span:
    attributes = {**place.attributes(), **(more or {})}
    end_ns = max(start_ns, end_ns)
    return Span(
        place.trace_id, span_id, place.parent, name, operation, start_ns, end_ns, attributes
    )
