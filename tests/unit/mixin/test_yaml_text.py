from __future__ import annotations

from typing import Any

import pytest
import yaml

from orchwatch.mixin.lib import yaml_text


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "up to 5m",
        "yes",
        "No",
        "null",
        "1",
        "15m",
        "1e3",
        "",
        " ",
        "- item",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "{{ $value }}",
        "'quoted'",
        'double "quoted"',
        "a\\b",
        "≤ 5 %",
        "one\ntwo",
        " one\ntwo",
        "one\n",
        "one \ntwo",
        "one\n\n  two",
        "0x10",
        "2026-11-22",
        "sum(a) > 0\nunless b",
        5,
        0.25,
        [],
        {},
    ],
)
def test_every_value_is_read_as_what_it_was(value: Any) -> None:
    data = {"key": value, "list": [value, {"first": value, "second": [value]}]}
    assert yaml.safe_load(yaml_text.document(data)) == data


def test_the_first_line_says_that_the_file_is_generated() -> None:
    first = yaml_text.document({"a": 1}).splitlines()[0]
    assert first.startswith("# Generated")
