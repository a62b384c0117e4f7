"""Durations as Go writes them, read back by a parser that knows nothing of the writer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.durations import go_duration

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def parse(text: str) -> float:
    assert re.fullmatch(f"(?:{PART.pattern})+", text), text
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "400ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m"),
        (60, "1m"),
        (132.624, "2m12.624s"),
        (179.56, "2m59.56s"),
        (3720, "1h2m"),
        (3605, "1h5s"),
        (86400, "24h"),
        (-3, "0s"),
    ],
)
def test_durations_look_like_groqs(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_whole_milliseconds_come_back_exactly(milliseconds: int) -> None:
    assert round(parse(go_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.floats(0, 10**6))
def test_whoever_waits_as_long_as_is_written_waits_long_enough(seconds: float) -> None:
    assert seconds - 1e-5 <= parse(go_duration(seconds)) <= seconds + 0.0011


@given(st.floats(0, 10**6))
def test_units_come_once_and_in_order_and_none_is_zero(seconds: float) -> None:
    parts = PART.findall(go_duration(seconds))
    order = [list(UNITS).index(unit) for _, unit in parts]
    assert order == sorted(set(order))
    assert len(parts) == 1 or all(float(number) > 0 for number, _ in parts)
    assert all(float(number) < 60 for number, unit in parts if unit in ("m", "s"))
