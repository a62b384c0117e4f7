import time

import pytest

from app.ids import made_at, new_id


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time()
    made = made_at(new_id("ft"), "ft")
    assert made is not None
    assert before - 0.001 <= made <= time.time()


@pytest.mark.parametrize(
    "text",
    ["", "ft_", "f" * 64, "ft_zzzzzzzzzzzzzzzzzzzzzzzzzz", "ft_00000000000000000000000000", "ä"],
)
def test_other_texts_tell_nothing(text: str) -> None:
    assert made_at(text, "ft") is None


def test_an_id_of_another_kind_tells_nothing() -> None:
    assert made_at(new_id("file"), "ft") is None
