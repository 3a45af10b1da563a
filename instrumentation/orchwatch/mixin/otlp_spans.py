"""What the Collector's configuration takes from the table of spans: statements in OTTL.

They give the spans of other programs the names that ours have, so that those are counted, found and
shown as ours are, and leave out what somebody wrote or read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from orchwatch import semconv
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

# Agents with a reader that are counted by what they send: none reads their files here.
_COUNTED = "${env:ORCHWATCH_OTLP_COUNTED:-}"
_INTERNAL = "${env:ORCHWATCH_OTLP_INTERNAL:-drop}"
_KEPT = "keep"

_ERROR, _OK, _UNSET = "STATUS_CODE_ERROR", "STATUS_CODE_OK", "STATUS_CODE_UNSET"
_EXCEPTION_TYPE = "exception.type"
_COMMAND_LINE = r"^process\.command"
_USAGE = r"^gen_ai\.usage\."
_DIGITS = 16


class _Group(NamedTuple):
    """Statements of one OTTL context, for spans of which a condition holds."""

    context: str
    condition: str
    statements: Iterable[str]


def trace_statements() -> list[str]:
    """`trace_statements` of `transform/agents`, as lines of YAML."""
    table = mapping.load()
    known = f"{_at(_EMITTER)} != nil"
    groups = [
        _Group("resource", "", _resources()),
        _Group("span", f"{_at(semconv.OPERATION_NAME)} == nil", _emitters(table)),
        _Group("spanevent", known, _events(table)),
        _Group("span", known, _spans(table)),
    ]
    return [line for group in groups for line in _lines(group)]


def _lines(group: _Group) -> Iterator[str]:
    yield f"- context: {group.context}"
    if group.condition:
        yield "  conditions:"
        yield f"    - {_quoted(group.condition)}"
    yield "  statements:"
    yield from (f"    - {_quoted(statement)}" for statement in group.statements)


def _resources() -> Iterator[str]:
    yield f"delete_matching_keys(resource.attributes, {_text(_COMMAND_LINE)})"


def _emitters(table: Table) -> Iterator[str]:
    yield f"delete_matching_keys(span.attributes, {_text(f'^{_dotted(_PREFIX)}')})"
    for emitter in table.emitters:
        for condition in emitter.conditions:
            found = [f"{_at(_EMITTER)} == nil", *_holds(condition)]
            yield _set(_at(_EMITTER), _text(emitter.name), found)


def _events(table: Table) -> Iterator[str]:
    event = 'spanevent.attributes["{}"]'.format
    for emitter in table.emitters:
        for name, keys in emitter.events.items():
            where = [_is_of(emitter), f"{event(semconv.EVENT_NAME)} == {_text(name)}"]
            yield from (_set(_at(key), event(key), where) for key in keys)
    failed = [f"{_at(semconv.ERROR_TYPE)} == nil", f"span.status.code == {_ERROR}"]
    yield _set(_at(semconv.ERROR_TYPE), event(_EXCEPTION_TYPE), failed)
    # Some make a message of it.
    word = f"IsMatch(spanevent.name, {_text(mapping.WORD)})"
    yield _set("spanevent.name", _text("event"), [f"not {word}"])
    yield f"keep_keys(spanevent.attributes, {_texts([_EXCEPTION_TYPE])})"


def _spans(table: Table) -> Iterator[str]:
    yield from _attributes(table)
    yield from _failures(table)
    yield from _kinds(table)
    yield from _of_emitters(table)
    for kind in table.kinds.values():
        yield from _names(kind)
    yield from _statuses(table)
    yield from _traces(table)
    yield from _kept(table)


def _attributes(table: Table) -> Iterator[str]:
    for key, others in table.attributes.items():
        yield _set(_at(key), f"Coalesce([{', '.join(map(_at, (key, *others)))}])")
    for key, others in table.milliseconds.items():
        for other in others:
            missing = [f"{_at(key)} == nil", f"Double({_at(other)}) != nil"]
            yield _set(_at(key), f"Double({_at(other)}) / 1000.0", missing)
    session = _at(semconv.SESSION_ID)
    yield _set(_at(semconv.GEN_AI_CONVERSATION_ID), session, [f"{session} != nil"])


def _failures(table: Table) -> Iterator[str]:
    unset = f"span.status.code == {_UNSET}"
    for emitter in table.emitters:
        for key, pattern in emitter.failure.items():
            failed = [_is_of(emitter), unset, f"IsMatch({_at(key)}, {_text(pattern)})"]
            yield _set("span.status.code", _ERROR, failed)
    yield _set("span.status.code", _ERROR, [unset, f"{_at(semconv.ERROR_TYPE)} != nil"])


def _kinds(table: Table) -> Iterator[str]:
    for emitter in table.emitters:
        for rule in emitter.rules:
            where = [f"{_at(_KIND)} == nil", _is_of(emitter), *_holds(rule.when)]
            if rule.unknown:
                yield _set(_at(_UNKNOWN), "true", where)
            if rule.below_turn:
                yield _set(_at(_BELOW_TURN), "true", where)
            if rule.sent_only:
                yield _set(_at(_SENT_ONLY), "true", where)
            yield _set(_at(_KIND), _text(rule.kind.name if rule.kind else _NO_KIND), where)
    yield f"delete_key(span.attributes, {_text(_KIND)}) where {_at(_KIND)} == {_text(_NO_KIND)}"


def _of_emitters(table: Table) -> Iterator[str]:
    agent = _at(semconv.GEN_AI_AGENT_NAME)
    for emitter in table.emitters:
        if emitter.cached_apart:
            yield _with_cached(emitter)
        if emitter.usage_apart:
            agents = " or ".join(_is_a(table.kinds[name]) for name in ("turn", "agent"))
            used = f"delete_matching_keys(span.attributes, {_text(_USAGE)})"
            yield f"{used} where {_is_of(emitter)} and ({agents})"
        if emitter.main_agent:
            main = f"{_is_of(emitter)} and {agent} == {_text(emitter.main_agent)}"
            yield f"delete_key(span.attributes, {_text(semconv.GEN_AI_AGENT_NAME)}) where {main}"
        if emitter.named_by_span:
            for kind in table.kinds.values():
                if kind.named_by in {semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_TOOL_NAME}:
                    name = _at(kind.named_by)
                    where = [_is_of(emitter), _is_a(kind), f"{name} == nil"]
                    yield _set(name, "span.name", where)
        if emitter.reader:
            counted = f"IsMatch({_text(_COUNTED)}, {_text(f'(^|[ ,]){emitter.name}([ ,]|$)')})"
            read = [_is_of(emitter), f"{_at(_SENT_ONLY)} == nil", f"not {counted}"]
            yield _set(_at(_READ), "true", read)
            # As its sessions are called that are read.
            service = f'resource.attributes["{semconv.SERVICE_NAME}"]'
            yield _set(service, _text(emitter.name), [_is_of(emitter)])


def _with_cached(emitter: Emitter) -> str:
    whole = _at(semconv.GEN_AI_USAGE_INPUT_TOKENS)
    cached = (
        semconv.GEN_AI_USAGE_CACHE_READ_TOKENS,
        semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS,
    )
    summed = " + ".join([f"Int({whole})", *(f"Int(Coalesce([{_at(one)}, 0]))" for one in cached)])
    return _set(whole, summed, [_is_of(emitter), f"Int({whole}) != nil"])


def _names(kind: Kind) -> Iterator[str]:
    # One that is counted elsewhere keeps its name, and is not taken for the one that is counted.
    where = [_is_a(kind), f"{_at(_READ)} == nil"]
    genai = semconv.GEN_AI_OPERATION_NAME
    if kind.genai:
        yield _set(_at(genai), _text(kind.genai), [_is_a(kind)])
        yield _set("span.name", _text(kind.genai), where)
    elif kind.operation:
        yield f"delete_key(span.attributes, {_text(genai)}) where {_is_a(kind)}"
        yield _set("span.name", _text(kind.operation), where)
    if kind.named_by:
        name = _at(kind.named_by)
        named = f"Concat([{_text(kind.genai)}, {name}], {_text(' ')})"
        yield _set("span.name", named, [*where, f"{name} != nil"])
    if kind.operation:
        yield _set(_at(semconv.OPERATION_NAME), _text(kind.operation), where)


def _statuses(table: Table) -> Iterator[str]:
    code, error = "span.status.code", _at(semconv.ERROR_TYPE)
    failed = f"{code} == {_ERROR}"
    outcome = _at(semconv.OUTCOME)
    for emitter in table.emitters:
        for key, outcomes in emitter.outcomes.items():
            for value, ours in outcomes.items():
                where = [_is_of(emitter), f"{_at(key)} == {_text(value)}"]
                yield _set(outcome, _text(ours), where)
    yield _set(code, _UNSET, [f"{outcome} != nil"])
    is_word = f"IsMatch({error}, {_text(mapping.WORD)})"
    for kind in table.kinds.values():
        if kind.error != mapping.OTHER:
            yield _set(error, _text(kind.error), [_is_a(kind), failed, f"{error} == nil"])
    yield _set(error, _text(mapping.OTHER), [failed, f"not {is_word}"])
    yield f"delete_key(span.attributes, {_text(semconv.ERROR_TYPE)}) where not {failed}"
    yield _set("span.status.message", _text(""))
    yield _set(code, _UNSET, [f"{_at(_UNKNOWN)} == true", f"{code} == {_OK}"])
    known = [f"{_at(one)} == nil" for one in (_UNKNOWN, semconv.OUTCOME)]
    known = [f"{_at(_KIND)} != nil", *known, f"{code} == {_UNSET}"]
    yield _set(code, _OK, known)


def _traces(table: Table) -> Iterator[str]:
    session, prompt = _at(semconv.SESSION_ID), _at(semconv.PROMPT_ID)
    for emitter in table.emitters:
        if emitter.one_trace:
            derived = _derived(emitter, session, 2 * _DIGITS)
            yield _set("span.trace_id.string", derived, [_is_of(emitter), f"{session} != nil"])
        if any(rule.below_turn for rule in emitter.rules):
            turn = _derived(emitter, prompt, _DIGITS)
            of_prompt = [_is_of(emitter), f"{prompt} != nil"]
            is_turn = _is_a(table.kinds["turn"])
            yield _set("span.span_id.string", turn, [*of_prompt, is_turn])
            below = [*of_prompt, f"{_at(_BELOW_TURN)} == true"]
            yield _set("span.parent_span_id.string", turn, below)


def _derived(emitter: Emitter, of: str, digits: int) -> str:
    return f"Substring(SHA256(Concat([{_text(emitter.name)}, {of}], {_text('/')})), 0, {digits})"


def _kept(table: Table) -> Iterator[str]:
    own = "|".join(f"^{_dotted(prefix)}" for prefix in (_PREFIX, mapping.OWN_PREFIX))
    for emitter in table.emitters:
        keys = "|".join(map(_dotted, table.kept_of(emitter)))
        pattern = f"^({keys})$|{own}"
        yield f"keep_matching_keys(span.attributes, {_text(pattern)}) where {_is_of(emitter)}"
    dropped = f"{_text(_INTERNAL)} != {_text(_KEPT)}"
    for emitter in table.emitters:
        if emitter.drops_internal:
            internal = [_is_of(emitter), f"{_at(_KIND)} == nil", dropped]
            yield _set(_at(LEFT_OUT), "true", internal)
    yield f"truncate_all(span.attributes, {mapping.MAX_CHARS})"
    for key in (_EMITTER, _KIND, _UNKNOWN, _BELOW_TURN, _SENT_ONLY, _READ):
        yield f"delete_key(span.attributes, {_text(key)})"


def _dotted(key: str) -> str:
    """A key in a regular expression."""
    return key.replace(".", "[.]")


def _holds(condition: Condition) -> Iterator[str]:
    """What must hold, in OTTL."""
    for pattern, of in (
        (condition.service, f'resource.attributes["{semconv.SERVICE_NAME}"]'),
        (condition.scope, "scope.name"),
        (condition.span, "span.name"),
        *((pattern, _at(key)) for key, pattern in condition.attribute.items()),
    ):
        if pattern:
            yield f"IsMatch({of}, {_text(pattern)})"
    yield from (f"{_at(key)} != nil" for key in condition.has)
    yield from (f"{_at(key)} == nil" for key in condition.lacks)
    if condition.root is not None:
        yield "IsRootSpan()" if condition.root else "not IsRootSpan()"
    if condition.failed is not None:
        yield f"span.status.code {'==' if condition.failed else '!='} {_ERROR}"
    if condition.node:
        said = _at(mapping.METADATA)
        yield f"IsMatch({said}, {_text(mapping.NODE)})"
        yield f"ParseJSON({said})[{_text(mapping.NODE)}] == span.name"


def _is_of(emitter: Emitter) -> str:
    return f"{_at(_EMITTER)} == {_text(emitter.name)}"


def _is_a(kind: Kind) -> str:
    return f"{_at(_KIND)} == {_text(kind.name)}"


def _set(what: str, to: str, where: Iterable[str] = ()) -> str:
    holds = " and ".join(where)
    return f"set({what}, {to})" + (f" where {holds}" if holds else "")


def _at(key: str) -> str:
    return f"span.attributes[{_text(key)}]"


def _texts(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    # Go reads what JSON writes.
    return json.dumps(text)


def _quoted(statement: str) -> str:
    """As a text in YAML, whatever it holds."""
    doubled = statement.replace("'", "''")
    return f"'{doubled}'"
