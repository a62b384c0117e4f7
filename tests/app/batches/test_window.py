"""Completion windows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches.window import PATTERN, window_seconds


@pytest.mark.parametrize(
    ("text", "hours"), [("24h", 24), ("1d", 24), ("25h", 25), ("168h", 168), ("7d", 168)]
)
def test_hours_and_days_within_a_week(text: str, hours: int) -> None:
    assert window_seconds(text) == hours * 3600


@pytest.mark.parametrize(
    "text",
    [
        *("", "24", "h", "23h", "169h", "0d", "8d", "024h", "1w", "24H", " 24h", "24h ", "24h\n"),
        *("-24h", "1.5d", "24.0h", "٢٤h", "1d12h", "9" * 5000 + "h"),
    ],
)
def test_nothing_else_is_a_window(text: str) -> None:
    assert window_seconds(text) is None


@given(st.integers(0, 2000), st.sampled_from("hdm"))
def test_the_pattern_that_is_told_is_the_one_that_holds(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    assert (window_seconds(text) is not None) == bool(re.fullmatch(PATTERN, text))
