from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from orchwatch import semconv
from orchwatch.agents import registry
from orchwatch.semconv import mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = mapping.load()
OURS = {value for value in vars(semconv).values() if isinstance(value, str)}


def patterns() -> Iterator[str]:
    for emitter in TABLE.emitters:
        yield from emitter.failure.values()
        for condition in (*emitter.conditions, *(rule.when for rule in emitter.rules)):
            yield from filter(None, (condition.service, condition.scope, condition.span))
            yield from condition.attribute.values()


def test_what_spans_become_has_a_name_of_ours() -> None:
    for kind in TABLE.kinds.values():
        assert {kind.operation, kind.named_by} - {""} <= OURS, kind
    assert TABLE.attributes.keys() | TABLE.milliseconds.keys() <= OURS


def test_an_emitter_that_is_read_is_called_as_its_reader_is() -> None:
    readers = {reader.name for reader in registry.known().readers}
    assert {emitter.name for emitter in TABLE.emitters if emitter.reader} == readers


def test_every_kind_is_some_spans() -> None:
    used = {rule.kind.name for one in TABLE.emitters for rule in one.rules if rule.kind}
    assert used == TABLE.kinds.keys()


def test_no_rule_hides_behind_one_that_says_the_same() -> None:
    for emitter in TABLE.emitters:
        said = [repr(rule.when) for rule in emitter.rules]
        assert len(said) == len(set(said)), emitter.name


@pytest.mark.parametrize("pattern", sorted(set(patterns())))
def test_patterns_are_read_alike_by_go_and_python(pattern: str) -> None:
    re.compile(pattern)
    # What RE2 lacks, or reads differently.
    assert not re.search(r"\(\?|\\[1-9zZ]", pattern)


def test_a_service_or_scope_of_a_longer_name_is_another() -> None:
    for emitter in TABLE.emitters:
        for condition in emitter.conditions:
            for pattern in filter(None, (condition.service, condition.scope)):
                assert pattern.startswith("^"), emitter.name
                assert pattern.endswith(("$", "([-_]|$)")), emitter.name


@pytest.mark.parametrize(
    ("service", "is_codex"),
    [
        *[(f"codex{name}", True) for name in ("_exec", "_cli_rs", "-tui", "-app-server")],
        *[(f"codex{name}", False) for name in ("-client", "_executor", "-clinic-api", "-tuition")],
        ("my-codex-cli", False),
    ],
)
def test_a_service_is_codex_by_whole_words(service: str, is_codex: bool) -> None:
    (codex,) = [one for one in TABLE.emitters if one.name == "codex"]
    assert any(bool(re.search(one.service, service)) for one in codex.conditions) == is_codex


def test_an_event_may_be_called_by_a_word_and_not_by_what_somebody_said() -> None:
    for word in ("ValueError", "gen_ai.choice", "tool_error", "exception"):
        assert re.search(mapping.WORD, word)
    for said in ("two words", "", "/home/somebody", "x" * 65, 'key="value"', "line\nline"):
        assert not re.search(mapping.WORD, said)
