import pytest

from benchmarks.closed_loop import Heard
from benchmarks.serving import Turn, cells, steady


def heard(rate: float) -> Heard:
    return Heard(answers=round(10 * rate), seconds=10.0, cpu_seconds=5.0, first=[1 / rate])


def turn(before: float, peer: float, after: float) -> Turn:
    return Turn(heard(before), heard(peer), heard(after))


def test_the_product_counts_as_the_mean_of_both_its_parts() -> None:
    ours, peer, ratio, first, core, drift, turns, equal = cells(
        [turn(9.8, 5.0, 10.2)], is_equal=True
    )
    assert (ours, peer, ratio) == ("10.0", "5.00", "2.00 (2.00–2.00)")
    assert first.startswith("0.49")
    assert core.startswith("2.00")
    assert (drift, turns, equal) == ("1.04 (1.04–1.04)", "1 (0)", "yes")


def test_turns_that_drifted_count_for_nothing_and_are_told() -> None:
    told = cells([turn(10.0, 5.0, 20.0), turn(10.0, 10.0, 10.0)], is_equal=True)
    assert told[2] == "1.00 (1.00–1.00)"
    assert told[6] == "1 (1)"


@pytest.mark.parametrize(("turns", "is_equal"), [([turn(1, 1, 1)], False), ([turn(1, 1, 2)], True)])
def test_no_speed_is_told_of_other_answers_or_of_no_steady_turn(
    turns: list[Turn], is_equal: bool
) -> None:
    assert cells(turns, is_equal=is_equal)[:5] == ["-"] * 5


@pytest.mark.parametrize(("drifting", "run"), [(0, 3), (2, 5), (9, 6)])
def test_a_turn_is_run_again_where_it_drifted_but_not_for_ever(drifting: int, run: int) -> None:
    made = steady(3, lambda number: turn(1, 1, 2 if number < drifting else 1))
    assert len(made) == run
