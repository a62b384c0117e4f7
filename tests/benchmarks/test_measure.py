import pytest

from benchmarks.measure import figure, in_turns, percentile, ratios, spread


def test_sides_take_turns() -> None:
    seen: list[str] = []

    def side(name: str, turn: int) -> int:
        seen.append(f"{name}{turn}")
        return turn

    found = in_turns(2, {name: lambda turn, n=name: side(n, turn) for name in ("a", "b")})

    assert seen == ["a0", "b0", "a1", "b1"]
    assert found == {"a": [0, 1], "b": [0, 1]}


def test_ratios_are_formed_turn_by_turn() -> None:
    # Of the medians alone the ratio would be 2 / 2.
    found = ratios([1.0, 2.0, 9.0], [2.0, 1.0, 3.0])

    assert (found.median, found.least, found.most, found.count) == (2.0, 0.5, 3.0, 3)


def test_sides_with_different_numbers_of_turns_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentiles_are_values_that_were_seen(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(
    ("value", "written"), [(0.123, "0.12"), (9.96, "9.96"), (12.34, "12.3"), (12_345.6, "12,346")]
)
def test_figures_have_three_digits_or_all_whole_ones(value: float, written: str) -> None:
    assert figure(value) == written


def test_a_spread_is_written_with_its_ends() -> None:
    assert str(spread([2.0, 1.0, 30.0])) == "2.00 (1.00–30.0)"
