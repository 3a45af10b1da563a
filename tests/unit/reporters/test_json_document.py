from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest

from orchwatch.reporters import json_document

HOSTILE = '\x1b[2J\x9b31m\x7f\u202e\u2028\u200b\ud800\U000e0041 größer 日本 🟢 \\ "\n\t\0'


def written(value: Any, encoding: str | None = None) -> str:
    stream = io.StringIO()
    if encoding:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # type: ignore[assignment]
    json_document.render(value, stream)
    stream.seek(0)
    return stream.read()


@pytest.mark.parametrize("encoding", [None, "utf-8", "ascii", "latin-1"])
def test_a_parser_gets_the_exact_value_and_a_terminal_nothing_to_obey(encoding: str | None) -> None:
    text = written({HOSTILE: [HOSTILE]}, encoding)

    assert all(letter.isprintable() for line in text.split("\n") for letter in line)
    assert json.loads(text) == {HOSTILE: [HOSTILE]}


def test_what_is_printable_stays_readable() -> None:
    assert json_document.dumps({"agent": "größer 🟢"}) == '{"agent": "größer 🟢"}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_word_for_is_null(number: float) -> None:
    assert json.loads(written({"a": [number, 1.5], "b": (number,)})) == {
        "a": [None, 1.5],
        "b": [None],
    }


def test_numbers_of_any_size_stay_exact() -> None:
    assert json.loads(written({"n": 2**80})) == {"n": 2**80}
