from __future__ import annotations

import enum
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.recording import losses, otlp_json

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("home")


class Raises:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError


class BadText(str):
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class BadInt(int):
    def __int__(self) -> int:
        raise RuntimeError


class FloatThatTurns(float):
    def __float__(self) -> float:
        return math.nan


class BadList(list[int]):
    def __getitem__(self, key: object) -> Any:
        raise RuntimeError


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


AWKWARD = '"\\\n\r\t\x00\x1f\x7f\u2028\x85é😀'
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


def encoded(attributes: Any) -> dict[str, Any]:
    text = otlp_json.encode_attributes(otlp_json.clean_attributes(attributes))
    return {entry["key"]: entry["value"] for entry in json.loads(otlp_json.to_bytes(f"[{text}]"))}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", {"stringValue": "text"}),
        ("", {"stringValue": ""}),
        (
            '"\\\n\r\t\x00\x1f\x7f\u2028\x85é😀',
            {"stringValue": '"\\\n\r\t\x00\x1f\x7f\u2028\x85é😀'},
        ),
        ("half \ud83d of it", {"stringValue": "half ? of it"}),
        (True, {"boolValue": True}),
        (False, {"boolValue": False}),
        (0, {"intValue": "0"}),
        (2**63 - 1, {"intValue": "9223372036854775807"}),
        (-(2**63), {"intValue": "-9223372036854775808"}),
        (0.5, {"doubleValue": 0.5}),
        (-0.0, {"doubleValue": -0.0}),
        (5e-324, {"doubleValue": 5e-324}),
        (1.7976931348623157e308, {"doubleValue": 1.7976931348623157e308}),
        (Colour.RED, {"stringValue": "red"}),
        (Level.HIGH, {"intValue": "3"}),
        (BadText("bad"), {"stringValue": "bad"}),
        ([], {"arrayValue": {"values": []}}),
        (["a", "b"], {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}),
        ((1, 2), {"arrayValue": {"values": [{"intValue": "1"}, {"intValue": "2"}]}}),
        ([True], {"arrayValue": {"values": [{"boolValue": True}]}}),
    ],
)
def test_a_value_is_written_as_its_otlp_kind(
    lost: Callable[[], dict[str, int]], value: Any, expected: dict[str, Any]
) -> None:
    assert encoded({"k": value}) == {"k": expected}
    assert lost() == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"bytes",
        bytearray(b"x"),
        object(),
        Raises(),
        {"a": 1},
        {1, 2},
        2**63,
        -(2**63) - 1,
        10**5000,
        math.nan,
        math.inf,
        -math.inf,
        1j,
        [[1]],
        [None],
        [1, "a"],
        [1, 1.5],
        [True, 1],
        [math.nan],
        [2**63],
        ENDLESS,
        BadInt(1),
        FloatThatTurns(1),
        BadList([1]),
        iter("abc"),
        len,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_otlp_does_not_know_is_counted_and_left_out(
    lost: Callable[[], dict[str, int]], value: Any
) -> None:
    assert encoded({"bad": value, "good": 1}) == {"good": {"intValue": "1"}}
    assert lost() == {"bad_attribute": 1}


@pytest.mark.parametrize("key", [None, 1, b"k", "", ("a",), "k" * 1_000_000, 1.5])
def test_a_key_that_is_no_short_text_is_counted_and_left_out(
    lost: Callable[[], dict[str, int]], key: Any
) -> None:
    assert encoded({key: 1, "good": 1}) == {"good": {"intValue": "1"}}
    assert lost() == {"bad_attribute": 1}


@pytest.mark.parametrize("attributes", [Raises(), 5, "text", [("a", 1)], object()])
def test_attributes_that_are_no_mapping_are_counted(
    lost: Callable[[], dict[str, int]], attributes: Any
) -> None:
    assert encoded(attributes) == {}
    assert lost() == {"bad_attribute": 1}


@pytest.mark.parametrize("attributes", [None, {}])
def test_no_attributes_are_none(lost: Callable[[], dict[str, int]], attributes: Any) -> None:
    assert encoded(attributes) == {}
    assert lost() == {}


def test_long_values_are_cut() -> None:
    values = encoded({"text": "ä" * 1_000_000, "list": list(range(1000)), "texts": ["x" * 5000]})
    assert values["text"] == {"stringValue": "ä" * otlp_json.MAX_TEXT_LENGTH}
    assert len(values["list"]["arrayValue"]["values"]) == otlp_json.MAX_LIST_LENGTH
    assert values["texts"]["arrayValue"]["values"] == [
        {"stringValue": "x" * otlp_json.MAX_TEXT_LENGTH}
    ]


def test_what_is_returned_has_plain_types_only() -> None:
    cleaned = otlp_json.clean_attributes({"a": Colour.RED, "b": Level.HIGH, "c": (Level.HIGH,)})
    assert [type(value) for value in cleaned.values()] == [str, int, list]


@pytest.mark.parametrize("parent", ["", "b" * 16])
def test_a_span_is_the_otlp_object(parent: str) -> None:
    text = otlp_json.encode_span(
        trace_id="a" * 32,
        span_id="c" * 16,
        parent_span_id=parent,
        name=otlp_json.quote('a"b'),
        start_ns=1,
        end_ns=2**63,
        attributes="",
        status=otlp_json.STATUS_ERROR,
    )
    expected: dict[str, Any] = {
        "traceId": "a" * 32,
        "spanId": "c" * 16,
        "name": 'a"b',
        "kind": 1,
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "9223372036854775808",
        "attributes": [],
        "status": {"code": 2},
    }
    if parent:
        expected["parentSpanId"] = parent
    assert json.loads(text) == expected


def test_a_line_is_one_resource_with_one_scope() -> None:
    prefix = otlp_json.spans_prefix(otlp_json.encode_attributes({"a": 1}), "s", "1")
    assert json.loads(f"{prefix}{{}}{otlp_json.LINE_SUFFIX}") == {
        "resourceSpans": [
            {
                "schemaUrl": semconv.RESOURCE_SCHEMA_URL,
                "resource": {"attributes": [{"key": "a", "value": {"intValue": "1"}}]},
                "scopeSpans": [
                    {
                        "schemaUrl": semconv.SCHEMA_URL,
                        "scope": {"name": "s", "version": "1"},
                        "spans": [{}],
                    }
                ],
            }
        ]
    }


def test_what_follows_no_conventions_says_none() -> None:
    prefix = otlp_json.spans_prefix("", "s", "1", schema_url="", resource_schema_url="")
    assert "schemaUrl" not in prefix


def test_counters_and_gauges_are_otlp_metrics() -> None:
    point = otlp_json.encode_point(3, {"k": "v"}, 1, 2)
    expected_point = {
        "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
        "startTimeUnixNano": "1",
        "timeUnixNano": "2",
        "asInt": "3",
    }
    assert json.loads(otlp_json.encode_counter("c", "By", point)) == {
        "name": "c",
        "unit": "By",
        "sum": {"dataPoints": [expected_point], "aggregationTemporality": 1, "isMonotonic": True},
    }
    gauge = json.loads(otlp_json.encode_gauge("g", "", otlp_json.encode_point(0.5, {}, 2, 2)))
    assert gauge["gauge"]["dataPoints"][0]["asDouble"] == 0.5


def test_attributes_beyond_the_limit_are_counted_and_left_out() -> None:
    cleaned = otlp_json.clean_attributes({f"key.{number}": number for number in range(130)})
    assert list(cleaned) == [f"key.{number}" for number in range(128)]
    assert losses.read() == {"bad_attribute": 2}
