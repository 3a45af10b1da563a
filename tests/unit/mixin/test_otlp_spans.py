from __future__ import annotations

import json
import re
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


def statements(groups: list[dict[str, Any]], condition: str) -> list[str]:
    return [
        one
        for group in groups
        if group.get("conditions") == [condition]
        for one in group["statements"]
    ]


def test_a_span_that_names_its_operation_is_left_alone(groups: list[dict[str, Any]]) -> None:
    found, *rest = [group for group in groups if group["context"] != "resource"]
    assert found["conditions"] == ['span.attributes["orchestration.operation.name"] == nil']
    for group in rest:
        assert group["conditions"][0].startswith('span.attributes["orchwatch.')


def test_every_emitter_keeps_what_is_named_and_nothing_else(groups: list[dict[str, Any]]) -> None:
    for emitter in TABLE.emitters:
        of = statements(groups, f'span.attributes["orchwatch.emitter"] == "{emitter.name}"')
        assert of[-1].startswith("keep_matching_keys(span.attributes, ")


def test_only_the_mark_for_the_filter_outlasts_the_statements(groups: list[dict[str, Any]]) -> None:
    own = {
        word.split('"')[0]
        for group in groups
        for statement in group["statements"]
        for word in statement.split('"orchwatch.')[1:]
    }
    gone = {
        one.split('"orchwatch.')[1].split('"')[0]
        for one in groups[-1]["statements"]
        if one.startswith('delete_key(span.attributes, "orchwatch.')
    }
    assert own - gone == {otlp_spans.LEFT_OUT.removeprefix("orchwatch.")}


def test_an_agent_that_is_read_is_counted_where_a_user_says_so(
    groups: list[dict[str, Any]],
) -> None:
    for emitter in TABLE.emitters:
        of = statements(groups, f'span.attributes["orchwatch.emitter"] == "{emitter.name}"')
        read = [one for one in of if "${env:ORCHWATCH_OTLP_COUNTED:-}" in one]
        assert len(read) == emitter.reader


@pytest.mark.parametrize(
    ("counted", "found"),
    [
        ("", False),
        ("codex", True),
        ("gemini-cli,codex", True),
        ("codex, gemini-cli", True),
        ("codex gemini-cli", True),
        ("codex2", False),
        ("my-codex", False),
        ("gemini-cli", False),
    ],
)
def test_names_of_agents_are_separated_by_commas_or_blanks(
    groups: list[dict[str, Any]], counted: str, found: bool
) -> None:
    of = statements(groups, 'span.attributes["orchwatch.emitter"] == "codex"')
    (pattern,) = {
        json.loads(one.split('COUNTED:-}", ')[1].split(")\u0000")[0].rpartition(")")[0])
        for one in of
        if "COUNTED" in one
    }
    assert bool(re.search(pattern, counted)) == found
