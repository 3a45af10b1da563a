from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.sessions.spans import Span
from orchwatch.monitor.tokens import Tokens
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _span(operation: str = semconv.AGENT_TURN, model: str = "m", **tokens: int) -> Span:
    attributes: dict[str, Any] = {semconv.GEN_AI_RESPONSE_MODEL: model}
    attributes[semconv.GEN_AI_USAGE_INPUT_TOKENS] = tokens.get("input", 0)
    attributes[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = tokens.get("output", 0)
    attributes[semconv.GEN_AI_USAGE_CACHE_READ_TOKENS] = tokens.get("read", 0)
    attributes[semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS] = tokens.get("creation", 0)
    return Span("0" * 32, "0" * 16, "", "turn", operation, 1, 2, attributes)


def test_input_and_what_came_from_the_cache_are_counted_apart() -> None:
    tokens = Tokens(None)
    tokens.add([_span(input=111, output=5, read=100, creation=10)])
    assert tokens.save()["totals"] == {
        "m": {"input": 1, "output": 5, "cache_read": 100, "cache_creation": 10}
    }


def test_turns_and_sub_agents_are_added_and_what_they_consist_of_is_not() -> None:
    tokens = Tokens(None)
    tokens.add([_span(output=1), _span(semconv.AGENT_RUN, output=2), _span("", output=4)])
    assert tokens.save()["totals"]["m"]["output"] == 3


def test_a_turn_that_asked_several_models_counts_for_each() -> None:
    span = _span(model="b", input=111, output=12, read=100, creation=10)
    several: dict[str, Any] = {
        "orchestration.usage.models": ["a", "b"],
        "orchestration.usage.requests": [1, 2],
        "orchestration.usage.input_tokens": [11, 100],
        "orchestration.usage.cache_read.input_tokens": [10, 90],
        "orchestration.usage.cache_write.input_tokens": [0, 10],
        "orchestration.usage.output_tokens": [5, 7],
        "orchestration.usage.reasoning.output_tokens": [0, 0],
    }
    tokens = Tokens(None)
    tokens.add([span._replace(attributes={**span.attributes, **several})])
    assert tokens.save()["totals"] == {
        "a": {"input": 1, "output": 5, "cache_read": 10, "cache_creation": 0},
        "b": {"input": 0, "output": 7, "cache_read": 90, "cache_creation": 10},
    }


def test_totals_go_on_in_the_next_process() -> None:
    first = Tokens(None)
    first.add([_span(output=1)])
    second = Tokens(first.save())
    second.add([_span(output=2)])
    assert second.save() == {
        "since_ns": first.save()["since_ns"],
        "totals": {"m": {"input": 0, "output": 3, "cache_read": 0, "cache_creation": 0}},
        "providers": {},
    }


def test_made_up_models_do_not_fill_prometheus() -> None:
    tokens = Tokens(None)
    for number in range(100):
        tokens.add([_span(model=f"m{number}", output=1)])
    totals = tokens.save()["totals"]
    assert len(totals) == 33
    assert sum(kinds["output"] for kinds in totals.values()) == 100


def test_totals_are_exported_as_a_sum_since_their_beginning(
    lines: Callable[[str], Any],
) -> None:
    tokens = Tokens({"since_ns": 5, "totals": {"m": {"output": 3}}})
    tokens.export()
    parsed, _ = lines("metrics")
    (metric,) = parsed[1]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert (metric["name"], metric["unit"]) == (semconv.OUTPUT_TOKENS, "{token}")
    assert metric["sum"]["aggregationTemporality"] == 2
    (point,) = metric["sum"]["dataPoints"]
    assert (point["asInt"], point["startTimeUnixNano"]) == ("3", "5")
    assert labels(point) == {
        semconv.GEN_AI_OPERATION_NAME: "chat",
        semconv.GEN_AI_RESPONSE_MODEL: "m",
        semconv.GEN_AI_TOKEN_MODALITY: "unknown",
    }


def labels(point: dict[str, Any]) -> dict[str, str]:
    return {entry["key"]: entry["value"]["stringValue"] for entry in point["attributes"]}


def test_the_conventions_input_holds_what_is_cached_and_their_output_the_reasoning(
    lines: Callable[[str], Any],
) -> None:
    span = _span(input=111, output=5, read=100, creation=10)
    more: dict[str, Any] = {
        semconv.GEN_AI_USAGE_REASONING_TOKENS: 2,
        semconv.GEN_AI_PROVIDER_NAME: "anthropic",
    }
    tokens = Tokens(None)
    tokens.add([span._replace(attributes=span.attributes | more)])
    tokens.export()
    metrics = lines("metrics")[0][1]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    points = {metric["name"]: metric["sum"]["dataPoints"] for metric in metrics}
    assert {name: int(point["asInt"]) for name, (point,) in points.items()} == {
        semconv.INPUT_TOKENS: 111,
        semconv.OUTPUT_TOKENS: 5,
        semconv.CACHE_READ_TOKENS: 100,
        semconv.CACHE_WRITE_TOKENS: 10,
        semconv.REASONING_TOKENS: 2,
    }
    told = {labels(point)[semconv.GEN_AI_PROVIDER_NAME] for (point,) in points.values()}
    assert told == {"anthropic"}


def test_totals_of_a_version_before_go_on(lines: Callable[[str], Any]) -> None:
    totals = {"m": {"input": 1, "output": 2, "cache_read": 30, "cache_creation": 4}}
    tokens = Tokens({"since_ns": 5, "totals": totals})
    tokens.add([_span(input=5, read=5)])
    tokens.export()
    metrics = lines("metrics")[0][1]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    counted = {one["name"]: int(one["sum"]["dataPoints"][0]["asInt"]) for one in metrics}
    assert counted[semconv.INPUT_TOKENS] == 40
    assert counted[semconv.CACHE_READ_TOKENS] == 35


def test_totals_that_have_not_changed_are_not_exported_again_at_once(
    lines: Callable[[str], Any],
) -> None:
    tokens = Tokens(None)
    tokens.add([_span(output=1)])
    tokens.export()
    tokens.export()
    assert len(lines("metrics")[0]) == 2  # with the segment's header
    tokens.add([_span(output=1)])
    tokens.export()
    assert len(lines("metrics")[0]) == 3


def test_nothing_used_is_nothing_exported(home: Path) -> None:
    Tokens(None).export()
    assert not home.exists()


def test_totals_that_could_not_be_written_are_written_next_time(
    home: Path, lines: Callable[[str], Any]
) -> None:
    tokens = Tokens(None)
    tokens.add([_span(output=1)])
    home.mkdir()
    (home / "spool").write_text("in the way")
    tokens.export()
    (home / "spool").unlink()
    spool._spools[spool.METRICS]._retry_at = 0.0
    tokens.export()
    assert len(lines("metrics")[0]) == 2
