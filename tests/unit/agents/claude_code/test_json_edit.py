from __future__ import annotations

import json
import random
from typing import Any

import pytest

from orchwatch.agents.claude_code.settings import json_edit

LAYOUTS: list[dict[str, Any]] = [
    {"indent": 2},
    {"indent": 4, "ensure_ascii": False},
    {"indent": "\t"},
    {},
    {"separators": (",", ":")},
    {"indent": 1, "separators": (" ,", " :")},
]


def some_value(choice: random.Random, depth: int = 0) -> Any:
    kinds = ["text", "number", "null"] + ["object", "array"] * (depth < 3)
    match choice.choice(kinds):
        case "text":
            return choice.choice(["", "é\u2028", 'a "quoted": {[', "\\", "\U0001f600", "\n"])
        case "number":
            return choice.choice([0, -1.5e300, 10**30, True])
        case "object":
            return {
                choice.choice("abcdé"): some_value(choice, depth + 1)
                for _ in range(choice.randrange(4))
            }
        case "array":
            return [some_value(choice, depth + 1) for _ in range(choice.randrange(4))]
    return None


def objects(text: str) -> list[json_edit.Part]:
    """Every object and array in a text."""
    found = [json_edit.root(text)]
    for part in found:
        found += [
            inner for inner in json_edit.parts(text, part) if isinstance(inner.value, dict | list)
        ]
    return found


@pytest.mark.parametrize("seed", range(60))
def test_an_addition_is_there_and_goes_without_a_trace(seed: int) -> None:
    choice = random.Random(seed)
    value = {"x": some_value(choice), "y": some_value(choice)}
    text = json.dumps(value, **choice.choice(LAYOUTS)).replace("\n", choice.choice(["\n", "\r\n"]))
    for place, container in enumerate(objects(text)):
        added: Any = {"new": [{"é": 1}], "newer": {}}
        if isinstance(container.value, list):
            added = [added, 7]
        longer = json_edit.apply(text, [json_edit.insertion(text, container, added)])
        assert longer.count("\r\n") == longer.count("\n") * ("\r\n" in text)
        changed = objects(longer)[place]
        expected = container.value + added if isinstance(added, list) else container.value | added
        assert changed.value == expected
        count = len(json_edit.parts(longer, changed))
        gone = json_edit.removals(longer, changed, {count - 2, count - 1})
        assert json_edit.apply(longer, gone) == text


@pytest.mark.parametrize("seed", range(30))
def test_any_part_can_be_removed_or_replaced(seed: int) -> None:
    choice = random.Random(seed)
    value = [some_value(choice) for _ in range(5)]
    text = json.dumps(value, **choice.choice(LAYOUTS))
    whole = json_edit.root(text)
    indexes = set(choice.sample(range(5), choice.randrange(6)))
    shorter = json_edit.apply(text, json_edit.removals(text, whole, indexes))
    assert json.loads(shorter) == [item for index, item in enumerate(value) if index not in indexes]
    edits = [
        json_edit.replacement(text, part, index)
        for index, part in enumerate(json_edit.parts(text, whole))
    ]
    assert json.loads(json_edit.apply(text, edits)) == [0, 1, 2, 3, 4]


def test_an_addition_is_laid_out_as_its_neighbours_are() -> None:
    text = '{\n   "a": 1.0e2,\n   "b": { "c": [1,2] }\n}\n'
    whole = json_edit.root(text)
    inner = json_edit.member(text, whole, "b")
    assert inner is not None
    edits = [
        json_edit.insertion(text, whole, {"é": {"x": []}}),
        json_edit.insertion(text, inner, {"d": [1]}),
    ]
    assert json_edit.apply(text, edits) == (
        '{\n   "a": 1.0e2,\n   "b": { "c": [1,2], "d": [1] },\n   "é": {\n      "x": []\n   }\n}\n'
    )


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    text = '{"a": 1, "a": 2}'
    part = json_edit.member(text, json_edit.root(text), "a")
    assert part is not None
    assert json_edit.apply(text, [json_edit.replacement(text, part, 3)]) == '{"a": 1, "a": 3}'


@pytest.mark.parametrize(
    "text", ["", "{", "{} {}", "// no\n{}", "[NaN]", "[" * 200_000, "{'a': 1}"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json_edit.parse(text)


def test_half_of_a_surrogate_pair_stays_an_escape() -> None:
    text = '["\\ud83d"]'
    part = json_edit.parts(text, json_edit.root(text))[0]
    edit = json_edit.replacement(text, part, f"{part.value}é")
    assert json_edit.apply(text, [edit]) == '["\\ud83d\\u00e9"]'
