from __future__ import annotations

import pytest

from orchwatch import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0µs"),
        (1e-9, "0.001µs"),
        (0.00085, "850µs"),
        (0.00099999, "1ms"),
        (0.001234, "1.23ms"),
        (0.05, "50ms"),
        (0.9999, "1s"),
        (1.5, "1.5s"),
        (59.99, "1m00s"),
        (725, "12m05s"),
        (3599.9, "1h00m"),
        (3720, "1h02m"),
        (86399.9, "1d00h"),
        (270000, "3d03h"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0%"),
        (1, "100%"),
        (0.5, "50%"),
        (0.95123, "95.12%"),
        (0.999999, "99.99%"),
        (0.0000001, "0.01%"),
        (0.999, "99.9%"),
    ],
)
def test_a_share_is_all_or_nothing_only_when_it_is(value: float | None, text: str) -> None:
    assert units.share(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "1", "-"),
        (0.8, "1", "80%"),
        (0, "By", "0B"),
        (512, "By", "512B"),
        (1023.9, "By", "1KiB"),
        (10_485_760, "By", "10MiB"),
        (5 * 1024**3, "By", "5GiB"),
        (20, "{task}/h", "20 tasks/h"),
        (8, "{point}", "8 points"),
        (1234.5, "{task}/h", "1234 tasks/h"),
        (1, "{task}/h", "1 task/h"),
    ],
)
def test_a_level_is_shown_in_its_unit(value: float | None, unit: str, text: str) -> None:
    assert units.level(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.4, "0s"), (59.4, "59s"), (120, "2m00s"), (9000, "2h30m"), (864000, "10d00h")],
)
def test_an_age_has_whole_seconds(seconds: float, text: str) -> None:
    assert units.age(seconds) == text
