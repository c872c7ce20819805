"""Averages and counts as people read them."""

import pytest

from so3krates.md.records.averages import Average
from so3krates.md.records.wording import average_text, follows_ramp, has_ramp, many, plain, rounded, spread_text


@pytest.mark.parametrize(
    ("average", "text"),
    [
        (Average(424.27, 300.0, 118.0, True), "420 ± 120 K"),
        (Average(304.84, 110.0, 1.234, True), "304.8 ± 1.2 K"),
        (Average(253.96, 430.0, 5.1, False), "254.0 K, error at least 5.1 K"),
        (Average(1000.0, 430.0, 99.7, True), "1000 ± 100 K"),
        (Average(-0.0001, 0.7, 0.0067, True), "-0.0001 ± 0.0067 K"),
        (Average(-0.001, 0.7, 0.67, True), "0.00 ± 0.67 K"),
        (Average(231.4543, None, None, None), "231.45 K, error unknown"),
        (Average(123456.7, None, None, None), "123460 K, error unknown"),
        (Average(7.0, 0.0, 0.0, True), "7.0000 K"),
        (Average(0.0, 0.0, 0.0, True), "0 K"),
    ],
)
def test_value_and_error_end_at_the_same_digit(average: Average, text: str) -> None:
    assert average_text(average, "K") == text
    assert rounded(average)[0] == text.split()[0]


def test_a_spread_is_said_in_words_where_there_is_one() -> None:
    assert spread_text(Average(424.27, 118.0, 14.0, True), "K") == "; spread 120 K"
    assert spread_text(Average(424.27, None, None, None), "K") == spread_text(Average(7.0, 0.0, 0.0, True), "K") == ""


def test_numbers_without_an_exponent_and_plural_forms() -> None:
    assert [plain(value, 2) for value in (432.0, 99.6, 0.00123, 0.0)] == ["430", "100", "0.0012", "0"]
    assert [many(count, "step") for count in (0, 1, 2, 3000)] == ["0 steps", "1 step", "2 steps", "3000 steps"]
    assert many(3000, "step", ",") == "3,000 steps"


def test_what_follows_a_ramp() -> None:
    ramp = {"time_ps": [0, 1], "value": [300, 400]}
    heated = {"kind": "StochasticCellRescaling", "temperature_K": ramp, "pressure_GPa": 0.1}
    assert has_ramp(heated) and not has_ramp(heated | {"temperature_K": 300.0})
    measured = ("temperature_K", "pressure_GPa", "volume_A3")
    assert [follows_ramp(heated, name) for name in measured] == [True, False, True]
    assert not any(follows_ramp(heated | {"temperature_K": 300.0}, name) for name in measured)
