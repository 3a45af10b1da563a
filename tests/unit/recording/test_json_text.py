from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch.recording.json_text import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = [
    "null", "true", " [1, 2.5, -3e2] ", '{"a": {"b": ["c", "\\u00e9\\ud83d\\ude00"]}}', '""', "{}",
    "12345678901234567890", "\t\r\n[]\n", '{"a": 1, "a": 2}', "[1e400, -0]", '"\U0001f600"',
]  # fmt: skip
BROKEN = ["", " ", "{", '{"a"}', "[1,]", "nul", "1 2", '"\n"', "'a'", "{1: 2}", "[1] x", "\ufeff1"]


@pytest.mark.parametrize("text", TEXTS)
def test_reads_what_the_json_package_reads(text: str) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_refuses_what_the_json_package_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json.loads(text)
    with pytest.raises(ValueError, match=r".+"):
        loads(text)


def test_reads_the_constants_that_the_json_package_adds() -> None:
    assert str(loads("[NaN, Infinity, -Infinity]")) == str(json.loads("[NaN, Infinity, -Infinity]"))


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(RecursionError):
        loads("[" * 100_000)


def test_refuses_it_too_where_the_json_package_is_not_imported(
    run_python: Callable[..., str],
) -> None:
    code = f"""
        from orchwatch.recording.json_text import loads
        for text in {BROKEN!r}:
            try:
                loads(text)
            except ValueError:
                print("refused")
    """
    assert run_python(code, flags=("-I", "-S")).split() == ["refused"] * len(BROKEN)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("text", TEXTS[:-2])
def test_writes_what_the_json_package_writes(text: str, ascii_only: bool) -> None:
    value = json.loads(text)
    assert dumps(value, ascii_only=ascii_only) == json.dumps(value, ensure_ascii=ascii_only)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dumps(value, ascii_only=True)


def test_what_is_no_json_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="set is not JSON"):
        dumps([{1, 2}], ascii_only=True)
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        dumps(circle, ascii_only=True)
