from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest

from orchwatch.analysis import prices, token_use
from orchwatch.store import small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.recording.otlp_json import AttributeValue

pytestmark = pytest.mark.usefixtures("home")
ALL = Selection(history=True)
DAY_NS = 86_400 * 10**9
SONNET = "claude-sonnet-4-5-20250929"


def used(
    record: Record,
    model: str,
    *,
    provider: str = "anthropic",
    requests: int = 1,
    tokens: tuple[int, int, int, int] = (1000, 400, 100, 50),
    operation: str = "agent.turn",
    **more: Any,
) -> None:
    """One turn; tokens are input with cached, read, written, output."""
    own = {
        "gen_ai.response.model": model,
        "gen_ai.provider.name": provider,
        "orchestration.api.requests": requests,
        **dict(
            zip(
                (
                    "gen_ai.usage.input_tokens",
                    "gen_ai.usage.cache_read.input_tokens",
                    "gen_ai.usage.cache_write.input_tokens",
                    "gen_ai.usage.output_tokens",
                ),
                tokens,
                strict=True,
            )
        ),
        **more.pop("attributes", {}),
    }
    record(operation, attributes=own, **more)


def measured(home: Path, by: str = "model", selection: Selection = ALL) -> token_use.Found:
    """The same from both stores."""
    in_python = small.read(home)
    assert in_python is not None
    found = token_use.measure(in_python, selection, by)
    with Store(home) as store:
        assert token_use.measure(store, selection, by) == found
    return found


def test_what_was_recorded_under_former_names_counts_as_ever(home: Path, record: Record) -> None:
    former: dict[str, AttributeValue] = {
        "gen_ai.response.model": SONNET,
        "gen_ai.system": "anthropic",
        "orchestration.api.requests": 1,
        "gen_ai.usage.prompt_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.cache_creation.input_tokens": 100,
        "gen_ai.usage.completion_tokens": 50,
    }
    record("agent.turn", attributes=former)
    (of_former,) = measured(home).uses
    assert (of_former.input_tokens, of_former.cache_creation_tokens) == (1000, 100)
    used(record, SONNET)
    (both,) = measured(home).uses
    assert (both.turns, both.input_tokens, both.output_tokens) == (2, 2000, 100)
    assert (both.cache_read_tokens, both.cache_creation_tokens) == (800, 200)
    assert both.cost_usd == pytest.approx(2 * (of_former.cost_usd or 0))


def test_of_a_name_and_its_former_one_the_name_holds(home: Path, record: Record) -> None:
    used(record, SONNET, attributes={"gen_ai.usage.cache_creation.input_tokens": 7})
    (one,) = measured(home).uses
    assert one.cache_creation_tokens == 100


def test_tokens_and_their_price_are_added_up_by_model(home: Path, record: Record) -> None:
    for _ in range(2):
        used(record, SONNET)
    used(record, "gpt-5", provider="openai", tokens=(10, 0, 0, 1))
    found = measured(home)
    one = found.uses[0]
    assert (one.key, one.turns, one.requests) == (SONNET, 2, 2)
    assert (one.input_tokens, one.cache_read_tokens, one.cache_creation_tokens) == (2000, 800, 200)
    assert one.output_tokens == 100
    usage = genai_prices.Usage(
        input_tokens=1000, cache_read_tokens=400, cache_write_tokens=100, output_tokens=50
    )
    each = genai_prices.calc_price(usage, SONNET, provider_id="anthropic").total_price
    assert one.cost_usd == pytest.approx(2 * float(each))
    assert [use.key for use in found.uses] == [SONNET, "gpt-5"]
    assert found.total.requests == 3
    assert found.total.cost_usd == pytest.approx(sum(use.cost_usd or 0 for use in found.uses))
    assert found.prices == prices.source()


def test_a_turn_that_asked_several_models_counts_for_each(home: Path, record: Record) -> None:
    several: dict[str, Any] = {
        "orchestration.usage.models": [SONNET, "gpt-5"],
        "orchestration.usage.requests": [3, 1],
        "orchestration.usage.input_tokens": [700, 300],
        "orchestration.usage.cache_read.input_tokens": [400, 0],
        "orchestration.usage.cache_write.input_tokens": [100, 0],
        "orchestration.usage.output_tokens": [30, 20],
        "orchestration.usage.reasoning.output_tokens": [0, 5],
    }
    used(record, "gpt-5", requests=4, attributes=several, end_ns=5 * DAY_NS)
    used(record, SONNET, end_ns=5 * DAY_NS)
    found = measured(home)
    one, two = sorted(found.uses, key=lambda use: use.key or "")
    assert (one.key, one.turns, one.requests, one.input_tokens) == (SONNET, 2, 4, 1700)
    assert (one.cache_read_tokens, one.cache_creation_tokens, one.output_tokens) == (800, 200, 80)
    assert (two.key, two.turns, two.requests, two.input_tokens) == ("gpt-5", 1, 1, 300)
    assert (two.output_tokens, two.reasoning_tokens) == (20, 5)
    assert (found.total.turns, found.total.requests, found.total.input_tokens) == (2, 5, 2000)
    (by_session,) = measured(home, "session").uses
    assert (by_session.turns, by_session.requests) == (2, 5)


def test_a_model_that_the_list_does_not_have_has_no_price(home: Path, record: Record) -> None:
    used(record, "house-model-7", provider="house")
    used(record, SONNET)
    found = measured(home)
    assert found.unpriced == ["house-model-7"]
    assert [use.cost_usd is None for use in found.uses] == [False, True]
    assert (found.total.unpriced_tokens, found.uses[1].unpriced_tokens) == (1050, 1050)
    assert found.total.cost_usd == found.uses[0].cost_usd


def test_what_a_gateway_passes_on_is_priced_by_its_model(home: Path, record: Record) -> None:
    used(record, SONNET, provider="house")
    used(record, SONNET, provider="")
    used(record, "gemini-2.5-pro", provider="gcp.gemini")
    assert measured(home).unpriced == []


def test_a_price_that_depends_on_the_size_of_a_request_is_taken_of_one_request(
    home: Path, record: Record
) -> None:
    model = "gemini-2.5-pro"
    used(record, model, provider="gcp.gemini", requests=10, tokens=(1_000_000, 0, 0, 0))
    used(record, model, provider="gcp.gemini", requests=1, tokens=(1_000_000, 0, 0, 0))

    def cost(tokens: int) -> float:
        usage = genai_prices.Usage(input_tokens=tokens)
        return float(genai_prices.calc_price(usage, model, provider_id="google").total_price)

    assert cost(1_000_000) > 10 * cost(100_000)
    (use,) = measured(home).uses
    assert use.cost_usd == pytest.approx(10 * cost(100_000) + cost(1_000_000))


@pytest.mark.parametrize(
    ("requests", "tokens"),
    [
        (29, (736859, 636945, 99914, 10)),  # all of it cached: as floats, more than there was
        (1, (5, 900, 0, 1)),  # input told without the cached one
        (3, (0, 0, 0, 0)),
    ],
)
def test_whatever_a_span_says_has_a_price(
    home: Path, record: Record, requests: int, tokens: tuple[int, int, int, int]
) -> None:
    used(record, SONNET, requests=requests, tokens=tokens)
    (use,) = measured(home).uses
    assert use.cost_usd is not None
    assert (use.cost_usd > 0) == any(tokens)


def test_turns_that_tell_no_number_of_requests_are_one_each(home: Path, record: Record) -> None:
    for requests in (0, 1):
        for _ in range(300):
            used(record, "gemini-2.5-pro", provider="gcp.gemini", requests=requests)
    (use,) = measured(home).uses
    alone = genai_prices.Usage(
        input_tokens=1000, cache_read_tokens=400, cache_write_tokens=100, output_tokens=50
    )
    price = genai_prices.calc_price(alone, "gemini-2.5-pro", provider_id="google").total_price
    assert use.cost_usd == pytest.approx(600 * float(price))


@pytest.mark.parametrize(
    "value",
    [
        '{"intValue":"-1"}', '{"intValue":"1.5"}', '{"intValue":"abc"}', '{"intValue":null}',
        '{"intValue":[1]}', '{"intValue":"1000000000000000000"}', '{"doubleValue":7.5}',
        '{"stringValue":"7"}', '{"intValue":7}',
    ],
)  # fmt: skip
def test_a_count_that_is_none_is_the_same_in_both_stores(
    home: Path, record: Record, value: str
) -> None:
    used(record, SONNET)
    (segment,) = (home / "spool").glob("operations-*.jsonl")
    text = segment.read_text()
    assert '{"intValue":"1000"}' in text
    segment.write_text(text.replace('{"intValue":"1000"}', value))
    (use,) = measured(home).uses
    assert use.requests == 1


def test_a_span_counts_once_and_what_is_no_turn_or_run_not_at_all(
    home: Path, record: Record
) -> None:
    for family in ("operations", "history"):
        used(record, SONNET, trace_id="a" * 32, span_id="b" * 16, family=family)
    used(record, SONNET, operation="agent.run")
    used(record, SONNET, operation="model.request")
    record("agent.turn")
    found = measured(home)
    assert (found.total.turns, found.total.requests) == (2, 2)


def test_an_agent_a_session_a_service_and_a_day_are_told_apart(home: Path, record: Record) -> None:
    now_ns = 1_790_000_000 * 10**9
    for number, agent in enumerate(("é'\"\\", None)):
        used(
            record,
            SONNET,
            end_ns=now_ns - number * DAY_NS,
            attributes={"session.id": f"s{number}"}
            | ({"gen_ai.agent.name": agent} if agent else {}),
        )
    assert {use.key for use in measured(home, "agent").uses} == {"é'\"\\", None}
    assert {use.key for use in measured(home, "session").uses} == {"s0", "s1"}
    assert [use.key for use in measured(home, "service").uses] == ["orchestration"]
    assert [use.key for use in measured(home, "day").uses] == ["2026-09-20", "2026-09-21"]
    one = measured(home, "day", Selection(history=True, session_id="s1"))
    assert [use.key for use in one.uses] == ["2026-09-20"]


def test_without_a_price_list_tokens_are_there_and_the_extra_is_named(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(record, SONNET)
    monkeypatch.delitem(sys.modules, "orchwatch.analysis.prices", raising=False)
    monkeypatch.delattr(sys.modules["orchwatch.analysis"], "prices", raising=False)
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    found = measured(home)
    assert (found.total.requests, found.total.cost_usd, found.prices) == (1, None, None)
    assert found.unpriced == []
    assert "orchwatch[prices]" in (found.why or "")
