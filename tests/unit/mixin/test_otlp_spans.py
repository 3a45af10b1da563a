from __future__ import annotations

from typing import Any

import pytest
import yaml

from orchwatch.mixin import otlp_spans
from orchwatch.semconv import mapping

TABLE = mapping.load()


@pytest.fixture(scope="module")
def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load("\n".join(otlp_spans.trace_statements()))
    return found


def last(groups: list[dict[str, Any]]) -> list[str]:
    found: list[str] = groups[-1]["statements"]
    return found


def test_a_span_that_names_its_operation_is_left_alone(groups: list[dict[str, Any]]) -> None:
    found, *rest = [group for group in groups if group["context"] != "resource"]
    assert found["conditions"] == ['span.attributes["orchestration.operation.name"] == nil']
    for group in rest:
        assert group["conditions"] == ['span.attributes["orchwatch.emitter"] != nil']


def test_every_emitter_keeps_what_is_named_and_nothing_else(groups: list[dict[str, Any]]) -> None:
    kept = [one for one in last(groups) if one.startswith("keep_matching_keys")]
    assert len(kept) == len(TABLE.emitters)
    for emitter, statement in zip(TABLE.emitters, kept, strict=True):
        assert statement.endswith(f'== "{emitter.name}"')


def test_only_the_mark_for_the_filter_outlasts_the_statements(groups: list[dict[str, Any]]) -> None:
    own = {
        word.split('"')[0]
        for group in groups
        for statement in group["statements"]
        for word in statement.split('"orchwatch.')[1:]
    }
    gone = {one.split('"orchwatch.')[1].split('"')[0] for one in last(groups)[-6:]}
    assert own - gone == {otlp_spans.LEFT_OUT.removeprefix("orchwatch.")}


def test_an_agent_that_is_read_is_counted_where_a_user_says_so(
    groups: list[dict[str, Any]],
) -> None:
    read = {
        emitter.name: [one for one in last(groups) if f"){emitter.name}(" in one]
        for emitter in TABLE.emitters
    }
    for emitter in TABLE.emitters:
        assert len(read[emitter.name]) == emitter.reader
        for statement in read[emitter.name]:
            assert "${env:ORCHWATCH_OTLP_COUNTED:-}" in statement
