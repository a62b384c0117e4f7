"""How times and sizes are written."""

import pytest

from app.cli.formats import minute, moment, size

TIME = 1_763_848_859
"""2025-11-22 22:00:59 UTC."""


def test_a_moment_is_in_utc() -> None:
    assert moment(TIME) == "2025-11-22 22:00 UTC"
    assert minute(TIME) == "2025-11-22 22:00"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (40, "0.04 kB"),
        (38_412, "38.4 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (9_234_567, "9.23 MB"),
        (999_600_000, "1 GB"),
        (1_230_000_000, "1.23 GB"),
    ],
)
def test_a_size_has_three_digits_and_the_unit_that_suits(count: int, text: str) -> None:
    assert size(count) == text
