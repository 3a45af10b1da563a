"""What the Collector's configuration takes from the table of spans: statements in OTTL.

They give the spans of other programs the names that ours have, so that those are counted, found and
shown as ours are, and leave out what somebody wrote or read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.lib.ottl import (
    Group,
    assign,
    at,
    delete,
    dotted,
    is_,
    matches,
    several,
    text,
    texts,
)
from orchwatch.semconv import mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.semconv.mapping import Condition, Emitter, Kind, Table

LEFT_OUT = "orchwatch.left_out"
"""Says to the filter behind the statements what is to go."""

# Attributes that are there while the statements run.
_PREFIX = "orchwatch."
_EMITTER = "orchwatch.emitter"
_KIND = "orchwatch.kind"
_NO_KIND = "none"
_UNKNOWN = "orchwatch.unknown"
_BELOW_TURN = "orchwatch.below_turn"
_SENT_ONLY = "orchwatch.sent_only"
_READ = "orchwatch.read"
_OWN = (_EMITTER, _KIND, _UNKNOWN, _BELOW_TURN, _SENT_ONLY, _READ)

# Agents with a reader that are counted by what they send: none reads their files here.
_COUNTED = "${env:ORCHWATCH_OTLP_COUNTED:-}"
_INTERNAL = "${env:ORCHWATCH_OTLP_INTERNAL:-drop}"
_KEPT = "keep"

_CODE = "span.status.code"
_ERROR, _OK, _UNSET = "STATUS_CODE_ERROR", "STATUS_CODE_OK", "STATUS_CODE_UNSET"
_SERVICE = f"resource.attributes[{text(semconv.SERVICE_NAME)}]"
_EXCEPTION_TYPE = "exception.type"
_COMMAND_LINE = r"^process\.command"
_USAGE = r"^gen_ai\.usage\."
_DIGITS = 16


def trace_statements() -> list[str]:
    """`trace_statements` of `transform/agents`, as lines of YAML."""
    table = mapping.load()
    known = f"{at(_EMITTER)} != nil"
    groups = [
        Group("resource", "", _resources()),
        Group("span", f"{at(semconv.OPERATION_NAME)} == nil", _emitters(table)),
        Group("spanevent", known, _events(table)),
        Group("span", known, _attributes(table)),
        # Each in a group of its own: what is not of it is passed over at once.
        *(Group("span", is_(_EMITTER, one.name), _emitter(table, one)) for one in table.emitters),
        Group("span", known, _bounded(table)),
        *(Group("span", is_(_KIND, one.name), _kind(one)) for one in table.kinds.values()),
        Group("span", known, _statuses()),
    ]
    return [line for group in groups for line in group.lines()]


def _resources() -> Iterator[str]:
    yield f"delete_matching_keys(resource.attributes, {text(_COMMAND_LINE)})"


def _emitters(table: Table) -> Iterator[str]:
    yield f"delete_matching_keys(span.attributes, {text(f'^{dotted(_PREFIX)}')})"
    for emitter in table.emitters:
        for condition in emitter.conditions:
            where = (f"{at(_EMITTER)} == nil", *_holds(condition))
            yield assign(at(_EMITTER), text(emitter.name), *where)


def _events(table: Table) -> Iterator[str]:
    event = 'spanevent.attributes["{}"]'.format
    for emitter in table.emitters:
        for name, keys in emitter.events.items():
            told = f"{event(semconv.EVENT_NAME)} == {text(name)}"
            for key in keys:
                yield assign(at(key), event(key), is_(_EMITTER, emitter.name), told)
    failed = (f"{at(semconv.ERROR_TYPE)} == nil", f"{_CODE} == {_ERROR}")
    yield assign(at(semconv.ERROR_TYPE), event(_EXCEPTION_TYPE), *failed)
    # Some make a message of it.
    word = matches("spanevent.name", mapping.WORD)
    yield assign("spanevent.name", text("event"), f"not {word}")
    yield f"keep_keys(spanevent.attributes, {texts([_EXCEPTION_TYPE])})"
    unnamed = f"not {matches(event(_EXCEPTION_TYPE), mapping.WORD)}"
    yield f"delete_key(spanevent.attributes, {text(_EXCEPTION_TYPE)}) where {unnamed}"


def _attributes(table: Table) -> Iterator[str]:
    for key, others in table.attributes.items():
        yield assign(at(key), f"Coalesce([{', '.join(map(at, (key, *others)))}])")
    for key, others in table.milliseconds.items():
        for other in others:
            missing = (f"{at(key)} == nil", f"Double({at(other)}) != nil")
            yield assign(at(key), f"Double({at(other)}) / 1000.0", *missing)
    session = at(semconv.SESSION_ID)
    yield assign(at(semconv.GEN_AI_CONVERSATION_ID), session, f"{session} != nil")
    told = f"{at(semconv.ERROR_TYPE)} != nil"
    yield assign(_CODE, _ERROR, f"{_CODE} == {_UNSET}", told)


def _emitter(table: Table, emitter: Emitter) -> Iterator[str]:
    for key, pattern in emitter.failure.items():
        yield assign(_CODE, _ERROR, f"{_CODE} == {_UNSET}", matches(at(key), pattern))
    for key, outcomes in emitter.outcomes.items():
        for value, ours in outcomes.items():
            yield assign(at(semconv.OUTCOME), text(ours), is_(key, value))
    yield from _rules(emitter)
    yield from _peculiarities(table, emitter)
    if emitter.reader:
        counted = matches(text(_COUNTED), f"(^|[ ,]){emitter.name}([ ,]|$)")
        yield assign(at(_READ), "true", f"{at(_SENT_ONLY)} == nil", f"not {counted}")
        # As its sessions are called that are read.
        yield assign(_SERVICE, text(emitter.name))
    yield from _traces(emitter)
    if emitter.drops_internal:
        dropped = f"{text(_INTERNAL)} != {text(_KEPT)}"
        yield assign(at(LEFT_OUT), "true", f"{at(_KIND)} == nil", dropped)
    keys = "|".join(map(dotted, (*table.kept_of(emitter), *table.lists)))
    own = "|".join(f"^{dotted(prefix)}" for prefix in (_PREFIX, mapping.OWN_PREFIX))
    yield f"keep_matching_keys(span.attributes, {text(f'^({keys})$|{own}')})"


def _rules(emitter: Emitter) -> Iterator[str]:
    for rule in emitter.rules:
        where = (f"{at(_KIND)} == nil", *_holds(rule.when))
        flags = {_UNKNOWN: rule.unknown, _BELOW_TURN: rule.below_turn, _SENT_ONLY: rule.sent_only}
        for flag, is_set in flags.items():
            if is_set:
                yield assign(at(flag), "true", *where)
        yield assign(at(_KIND), text(rule.kind.name if rule.kind else _NO_KIND), *where)
    if any(rule.kind is None for rule in emitter.rules):
        yield delete(_KIND, is_(_KIND, _NO_KIND))


def _peculiarities(table: Table, emitter: Emitter) -> Iterator[str]:
    if emitter.cached_apart:
        whole = at(semconv.GEN_AI_USAGE_INPUT_TOKENS)
        cached = (
            semconv.GEN_AI_USAGE_CACHE_READ_TOKENS,
            semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS,
        )
        parts = [f"Int({whole})", *(f"Int(Coalesce([{at(one)}, 0]))" for one in cached)]
        yield assign(whole, " + ".join(parts), f"Int({whole}) != nil")
    if emitter.usage_apart:
        agents = " or ".join(is_(_KIND, name) for name in ("turn", "agent"))
        yield f"delete_matching_keys(span.attributes, {text(_USAGE)}) where {agents}"
    if emitter.main_agent:
        agent = semconv.GEN_AI_AGENT_NAME
        yield delete(agent, is_(agent, emitter.main_agent))
    if emitter.named_by_span:
        for kind in table.kinds.values():
            if kind.named_by in mapping.NAMED_BY_SPAN:
                missing = f"{at(kind.named_by)} == nil"
                yield assign(at(kind.named_by), "span.name", is_(_KIND, kind.name), missing)


def _traces(emitter: Emitter) -> Iterator[str]:
    session, prompt = at(semconv.SESSION_ID), at(semconv.PROMPT_ID)
    if emitter.one_trace:
        derived = _derived(emitter, session, 2 * _DIGITS)
        yield assign("span.trace_id.string", derived, f"{session} != nil")
    if any(rule.below_turn for rule in emitter.rules):
        turn, told = _derived(emitter, prompt, _DIGITS), f"{prompt} != nil"
        yield assign("span.span_id.string", turn, told, is_(_KIND, "turn"))
        yield assign("span.parent_span_id.string", turn, told, f"{at(_BELOW_TURN)} == true")


def _derived(emitter: Emitter, of: str, digits: int) -> str:
    return f"Substring(SHA256(Concat([{text(emitter.name)}, {of}], {text('/')})), 0, {digits})"


def _bounded(table: Table) -> Iterator[str]:
    scalars = {key for emitter in table.emitters for key in table.kept_of(emitter)}
    yield from (delete(key, several(key)) for key in sorted(scalars))
    yield from (delete(key, f"IsMap({at(key)})") for key in table.lists)
    yield f"truncate_all(span.attributes, {mapping.MAX_CHARS})"


def _kind(kind: Kind) -> Iterator[str]:
    genai, counted = semconv.GEN_AI_OPERATION_NAME, f"{at(_READ)} == nil"
    # One that is counted elsewhere keeps its name, and is not taken for the one that is counted.
    if kind.genai:
        yield assign(at(genai), text(kind.genai))
        yield assign("span.name", text(kind.genai), counted)
    elif kind.operation:
        yield delete(genai)
        yield assign("span.name", text(kind.operation), counted)
    if kind.named_by:
        named = f"Concat([{text(kind.genai or kind.operation)}, {at(kind.named_by)}], {text(' ')})"
        yield assign("span.name", named, counted, f"{at(kind.named_by)} != nil")
    if kind.operation:
        yield assign(at(semconv.OPERATION_NAME), text(kind.operation), counted)
    if kind.error != mapping.OTHER:
        missing = f"{at(semconv.ERROR_TYPE)} == nil"
        yield assign(at(semconv.ERROR_TYPE), text(kind.error), f"{_CODE} == {_ERROR}", missing)
    known = (f"{at(_UNKNOWN)} == nil", f"{at(semconv.OUTCOME)} == nil")
    yield assign(_CODE, _OK, *known, f"{_CODE} == {_UNSET}")


def _statuses() -> Iterator[str]:
    error, failed = at(semconv.ERROR_TYPE), f"{_CODE} == {_ERROR}"
    yield assign(_CODE, _UNSET, f"{at(semconv.OUTCOME)} != nil")
    yield assign(_CODE, _UNSET, f"{at(_UNKNOWN)} == true", f"{_CODE} == {_OK}")
    yield assign(error, text(mapping.OTHER), failed, f"not {matches(error, mapping.WORD)}")
    yield delete(semconv.ERROR_TYPE, f"not {failed}")
    yield assign("span.status.message", text(""))
    yield from map(delete, _OWN)


def _holds(condition: Condition) -> Iterator[str]:
    """What must hold, in OTTL."""
    patterns: Iterable[tuple[str, str]] = (
        (_SERVICE, condition.service),
        ("scope.name", condition.scope),
        ("span.name", condition.span),
        *((at(key), pattern) for key, pattern in condition.attribute.items()),
    )
    yield from (matches(of, pattern) for of, pattern in patterns if pattern)
    yield from (f"{at(key)} != nil" for key in condition.has)
    yield from (f"{at(key)} == nil" for key in condition.lacks)
    if condition.root is not None:
        yield "IsRootSpan()" if condition.root else "not IsRootSpan()"
    if condition.failed is not None:
        yield f"{_CODE} {'==' if condition.failed else '!='} {_ERROR}"
    if condition.node:
        said = at(mapping.METADATA)
        yield matches(said, mapping.NODE)
        yield f"ParseJSON({said})[{text(mapping.NODE)}] == span.name"
