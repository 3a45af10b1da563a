from __future__ import annotations

import pytest

from orchwatch.recording.safe_text import ELLIPSIS, ljust, quoted, rjust, safe, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("state.query", "state.query"),
        ("größer 日本", "größer 日本"),
        ("\x1b[2J\x1b]52;c;eA==\x07", r"\x1b[2J\x1b]52;c;eA==\x07"),
        ("\x9b31m\x9dtitle\x9c\x90q\x84", r"\x9b31m\x9dtitle\x9c\x90q\x84"),
        ("a\rb\nc\td\x0be\x00\x7f\x08", r"a\rb\nc\td\x0be\x00\x7f\x08"),
        ("\u202egnp.exe\u202c\u2066x\u2069", r"\u202egnp.exe\u202c\u2066x\u2069"),
        ("zero\u200bwidth\u2060\ufeff", r"zero\u200bwidth\u2060\ufeff"),
        ("two\u2028lines\u2029", r"two\u2028lines\u2029"),
        ("half \ud83d", r"half \ud83d"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("10\u00a0%", "10 %"),
        ("o\u0302\u0323 is a letter", "o\u0302\u0323 is a letter"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert safe(text).isprintable()


def test_every_character_comes_out_printable() -> None:
    for number in (*range(0x10000), *range(0xE0000, 0xE0200)):
        assert safe(chr(number)).isprintable(), hex(number)


def test_a_flood_of_marks_is_cut() -> None:
    shown = safe("Z" + "\u0321" * 500 + "algo")

    assert shown == "Z" + "\u0321" * 3 + ELLIPSIS + "algo"


@pytest.mark.parametrize("letter", ["x", "日", "\x1b", "e\u0301"])
def test_a_long_name_keeps_both_ends(letter: str) -> None:
    shown = safe("start" + letter * 1_000_000 + "end", 40)

    assert width(shown) <= 40
    assert shown.startswith("start")
    assert shown.endswith("end")
    assert ELLIPSIS in shown


def test_columns_are_counted_as_a_terminal_does() -> None:
    assert width("日本") == 4
    assert width("e\u0301") == 1
    assert ljust("日本", 6) + "|" == "日本  |"
    assert rjust("日本", 6) == "  日本"


def test_a_name_in_a_command_is_one_word() -> None:
    assert quoted("state.query") == "state.query"
    assert quoted("x; rm -rf ~") == "'x; rm -rf ~'"
