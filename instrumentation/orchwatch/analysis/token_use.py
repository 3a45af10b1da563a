"""Tokens that models used, and what they cost: by model, agent, session, service or day.

They stand on the spans of turns and sub-agents, a turn's without its sub-agents'; by model, where
it asked several. What a resumed or forked session repeats of another is on one span only.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from orchwatch import semconv
from orchwatch.errors import MissingExtraError
from orchwatch.store import outlines, small_answers
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

_Value = TypeVar("_Value")

_NS = 1_000_000_000
_DAY_NS = 86_400 * _NS
# All time zones of today differ from UTC by multiples of it.
_QUARTER_NS = 900 * _NS
_COUNT = re.compile(r"[0-9]{1,15}\b")
_OPERATIONS = (semconv.AGENT_TURN, semconv.AGENT_RUN)
_COUNTS = (
    semconv.API_REQUESTS,
    semconv.GEN_AI_USAGE_INPUT_TOKENS,
    semconv.GEN_AI_USAGE_CACHE_READ_TOKENS,
    semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
    semconv.GEN_AI_USAGE_REASONING_TOKENS,
)


def _names_of(key: str) -> tuple[str, ...]:
    """What an attribute is called, and was before."""
    return (key, semconv.FORMER_NAMES[key]) if key in semconv.FORMER_NAMES else (key,)


def _integer_of(key: str) -> str:
    """An integer among the OTLP/JSON attributes, in SQL; 0 where there is none."""
    found = [
        rf"""try_cast(regexp_extract(attributes, '"{name.replace(".", "[.]")}","value":\s*\{{\s*"""
        rf""""intValue"\s*:\s*"?(\d{{1,15}})\b', 1) AS BIGINT)"""
        for name in _names_of(key)
    ]
    return f"coalesce({', '.join(found)}, 0)"


def _text_of(key: str) -> str:
    """A text among them, in SQL; NULL where there is none."""
    found = [outlines.text_of("attributes", name) for name in _names_of(key)]
    return f"coalesce({', '.join(found)})"


# What a request costs may depend on its size: those of about one size are priced together.
_SIZE = "floor(log2(greatest(input_tokens / greatest(requests, 1), 1)))::INTEGER"
_NAMES = ("requests", "input_tokens", "cache_read", "cache_creation", "output_tokens", "reasoning")
_SEVERAL = f'"key":"{semconv.USAGE_MODELS}"'
_ASKED = f"""
SELECT key, model, provider, slot, count(*), count(*),
    {", ".join(f"sum({name})::BIGINT" for name in _NAMES)}
FROM (
    SELECT DISTINCT ON (trace_id, span_id) {{key}} AS key, end_ns // $slot_ns AS slot,
        {outlines.text_of("attributes", semconv.GEN_AI_RESPONSE_MODEL)} AS model,
        {_text_of(semconv.GEN_AI_PROVIDER_NAME)} AS provider,
        {
    ", ".join(f"{_integer_of(key)} AS {name}" for key, name in zip(_COUNTS, _NAMES, strict=True))
}
    FROM span WHERE {{whose}} AND NOT coalesce(contains(attributes, $several), false)
) WHERE model IS NOT NULL GROUP BY key, model, provider, slot, {_SIZE}
"""  # noqa: S608 - no value stands in it
_OF_SEVERAL = """
SELECT DISTINCT ON (trace_id, span_id) {key}, end_ns // $slot_ns, attributes
FROM span WHERE {whose} AND contains(attributes, $several)
"""
_WHOSE = """
family IN (SELECT unnest($families)) AND operation IN (SELECT unnest($names)) AND {where}
"""
_KEYS = {
    "model": "NULL",
    "day": "NULL",
    "agent": "agent",
    "session": "session_id",
    "service": "service",
}


@dataclass(kw_only=True)
class Use:
    """What was used under one key.

    Attributes:
        key: The model, agent, session, service or local day; None where a span names none, as an
            agent's own turns name no agent.
        turns: How many turns and runs of sub-agents asked a model.
        requests: How often they did.
        input_tokens: All input, cached or not.
        cache_read_tokens: How much of it came from the cache.
        cache_creation_tokens: How much of it went to the cache.
        output_tokens: All output.
        reasoning_tokens: How much of it was reasoning, where it is told; else 0.
        cost_usd: By the price list; None where nothing of it could be priced.
        unpriced_tokens: Input and output of models that the list does not have.
    """

    key: str | None
    turns: int = 0
    requests: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    unpriced_tokens: int = 0

    def add(self, group: _Group, turns: int, cost_usd: float | None) -> None:
        """Adds what of it was used of one model, on one day, in requests of one size."""
        self.turns += turns
        self.requests += group.requests
        self.input_tokens += group.input_tokens
        self.cache_read_tokens += group.cache_read_tokens
        self.cache_creation_tokens += group.cache_creation_tokens
        self.output_tokens += group.output_tokens
        self.reasoning_tokens += group.reasoning_tokens
        if cost_usd is None:
            self.unpriced_tokens += group.input_tokens + group.output_tokens
        else:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd


class Found(NamedTuple):
    """What was used within a selection.

    Attributes:
        uses: By key, the most expensive first; days in their order.
        total: All together; its key is None.
        unpriced: The models that the price list does not have, by name.
        prices: Which price list it is; None where none is installed.
        why: What to do about that; None where there is one.
    """

    uses: list[Use]
    total: Use
    unpriced: list[str]
    prices: str | None
    why: str | None


class _Group(NamedTuple):
    """Of the same key, model, provider, slot of time and size of a request."""

    key: str | None
    model: str
    provider: str
    slot: int
    turns: int  # that asked the model
    firsts: int  # those of them that are counted with no other model
    requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    output_tokens: int
    reasoning_tokens: int


def measure(store: Store | SmallStore, selection: Selection, by: str = "model") -> Found:
    """What was used, by `model`, `agent`, `session`, `service` or `day`.

    A price that depends on how large a request is, is taken of the average request of turns whose
    requests are about as large.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    prices, why = _prices()
    slot_ns = _QUARTER_NS if by == "day" else _DAY_NS
    groups = _groups(store, selection, by, slot_ns)
    uses: dict[str | None, Use] = {}
    total = Use(key=None)
    unpriced = set()
    for group in sorted(groups, key=repr):  # as the order of a sum decides its last digit
        cost_usd = None
        if prices:
            cost_usd = _cost_usd(prices, group, group.slot * slot_ns // _DAY_NS)
            if cost_usd is None:
                unpriced.add(group.model)
        key = group.key
        if by == "model":
            key = group.model
        elif by == "day":
            key = f"{datetime.fromtimestamp(group.slot * slot_ns // _NS):%Y-%m-%d}"  # noqa: DTZ006
        turns = group.turns if by == "model" else group.firsts
        uses.setdefault(key, Use(key=key)).add(group, turns, cost_usd)
        total.add(group, group.firsts, cost_usd)
    found = sorted(uses.values(), key=_by_day if by == "day" else _by_cost)
    source = prices.source() if prices else None
    return Found(found, total, sorted(unpriced), source, why)


def _cost_usd(prices: ModuleType, group: _Group, day: int) -> float | None:
    """That of one request of average size, as often as there were requests."""
    requests = max(group.requests, group.turns)  # each made one at least

    def each(tokens: int) -> Decimal:
        return Decimal(tokens * 1000 // requests) / 1000  # as decimals, these add up

    read, written = each(group.cache_read_tokens), each(group.cache_creation_tokens)
    price: float | None = prices.cost_usd(
        group.model,
        group.provider,
        day,
        # A program of one's own may tell its input without the cached one.
        input_tokens=max(each(group.input_tokens), read + written),
        cache_read_tokens=read,
        cache_creation_tokens=written,
        output_tokens=each(group.output_tokens),
    )
    return None if price is None else price * requests


def _prices() -> tuple[ModuleType | None, str | None]:
    """The module that knows them, else why there is none."""
    try:
        from orchwatch.analysis import prices  # noqa: PLC0415 - slow, and may be missing
    except MissingExtraError as error:
        return None, str(error)
    return prices, None


def _by_day(use: Use) -> str:
    return use.key or ""


def _by_cost(use: Use) -> tuple[float, int, str]:
    return -(use.cost_usd or 0.0), -use.input_tokens - use.output_tokens, use.key or ""


def _groups(
    store: Store | SmallStore, selection: Selection, by: str, slot_ns: int
) -> Iterable[_Group]:
    if isinstance(store, SmallStore):
        return _of_small(store, selection, by, slot_ns)
    where, values = selection.where()
    asked = {
        **values,
        "families": list(selection.families),
        "names": list(_OPERATIONS),
        "slot_ns": slot_ns,
        "several": _SEVERAL,
    }
    whose = _WHOSE.replace("{where}", where)
    of_one, of_several = (
        store.query(sql.replace("{key}", _KEYS[by]).replace("{whose}", whose), asked)
        for sql in (_ASKED, _OF_SEVERAL)
    )
    found = [
        _Group(
            key,
            outlines.unescaped(model) or "",
            outlines.unescaped(provider) or "",
            slot,
            *counts,
        )
        for key, model, provider, slot, *counts in of_one
    ]
    return [*found, *_added(of_several)]


def _of_small(store: SmallStore, selection: Selection, by: str, slot_ns: int) -> Iterator[_Group]:
    used = []
    for row in small_answers.distinct(selection.held(store.rows)):
        if row.operation not in _OPERATIONS or not row.attributes:
            continue
        key = None
        if by == "agent":
            key = row.agent
        elif by == "session":
            key = row.session_id
        elif by == "service":
            key = row.service
        used.append((key, row.end_ns // slot_ns, row.attributes))
    return _added(used)


def _added(used: Iterable[tuple[str | None, int, str]]) -> Iterator[_Group]:
    """What turns used, each as its key, its slot of time and its attributes."""
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * (len(_COUNTS) + 2))
    for key, slot, attributes in used:
        # Of a key that is there twice, the first one, as the other store's pattern finds.
        pairs = reversed(json.loads(attributes))
        values = {one["key"]: one["value"] for one in pairs if isinstance(one.get("value"), dict)}
        provider = next(_said(values, semconv.GEN_AI_PROVIDER_NAME, "stringValue", _text), "")
        for place, (model, counts) in enumerate(_models(values)):
            size = max(counts[1] // max(counts[0], 1), 1).bit_length() - 1
            of_group = sums[key, model, provider, slot, size]
            for number, count in enumerate((1, int(place == 0), *counts)):
                of_group[number] += count
    for (key, model, provider, slot, _), numbers in sums.items():
        yield _Group(key, model, provider, slot, *numbers)


def _models(values: dict[str, Any]) -> list[tuple[str, list[int]]]:
    """The models that a turn asked, and the counts of each."""
    names = _list(values.get(semconv.USAGE_MODELS))
    if not names:
        of_one = _text(values.get(semconv.GEN_AI_RESPONSE_MODEL, {}).get("stringValue"))
        sums = [next(_said(values, key, "intValue", _whole), 0) for key in _COUNTS]
        return [(of_one, sums)] if of_one else []
    columns = [_list(values.get(semconv.USAGE_OF_MODELS[key])) for key in _COUNTS]
    found = []
    for place, name in enumerate(names):
        model = _text(name.get("stringValue"))
        if model:
            cells = [column[place] if place < len(column) else {} for column in columns]
            found.append((model, [_whole(cell.get("intValue")) or 0 for cell in cells]))
    return found


def _list(value: Any) -> list[Any]:
    array = value.get("arrayValue") if isinstance(value, dict) else None
    found = array.get("values") if isinstance(array, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _said(
    values: Mapping[str, Any], key: str, kind: str, read: Callable[[object], _Value | None]
) -> Iterator[_Value]:
    """What is said under the names of an attribute, today's first."""
    for name in _names_of(key):
        found = read(values.get(name, {}).get(kind))
        if found is not None:
            yield found


def _text(said: object) -> str | None:
    return said if isinstance(said, str) else None


def _whole(written: object) -> int | None:
    """A count as `_integer_of` finds it."""
    found = _COUNT.match(str(written))
    return int(found[0]) if found else None
