from benchmarks.batch_interference import Turn, cells
from benchmarks.interactive import Waits


def waits(first: float, between: float) -> Waits:
    return Waits(first=[first] * 10, between=[between] * 10, answers=10)


def test_waits_and_rates_are_told_with_their_ratios() -> None:
    quiet, busy = waits(0.010, 0.002), waits(0.015, 0.003)
    turn = Turn(alone=100.0, together=80.0, talked=40.0, quiet=quiet, busy=busy)

    median, high, ratio, between, between_ratio, rates, rate_ratio, share, refused = cells(
        [turn, turn]
    )

    assert median == high == "10.0 → 15.0"
    assert ratio == between_ratio == "1.50 (1.50–1.50)"
    assert between == "2.00 → 3.00"
    assert rates == "100 → 80.0"
    assert rate_ratio == "0.80 (0.80–0.80)"
    assert share == "20%"
    assert refused == "0"
