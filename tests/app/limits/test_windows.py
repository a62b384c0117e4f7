"""Windows: whose they are, when they end, and that a number names one of them only."""

from hypothesis import given
from hypothesis import strategies as st

from app.limits.dimensions import DIMENSIONS, Limit
from app.limits.windows import Account, Window

LIMITS = tuple(Limit(dimension, 10) for dimension in DIMENSIONS)
times = st.floats(0, 4e9)


def windows(
    now: float, *, org_id: str = "org_1", model: str = "m", tier: str = "on_demand"
) -> list[Window]:
    return Account(org_id, model, tier).windows(LIMITS, now)


def keys(windows: list[Window]) -> set[str]:
    return {window.key for window in windows}


@given(times)
def test_a_window_ends_after_now_and_within_its_length(now: float) -> None:
    for window in windows(now):
        assert now < window.end <= now + window.limit.dimension.seconds


@given(times)
def test_one_window_has_one_key_until_its_end_and_never_after(now: float) -> None:
    for number, window in enumerate(windows(now)):
        assert windows(window.end - 0.001)[number].key == window.key
        assert windows(window.end)[number].key != window.key


def test_dimensions_organisations_and_models_are_counted_apart() -> None:
    everybody = [
        windows(0.0, org_id=org_id, model=model) for org_id in ("a", "b") for model in ("m", "n")
    ]
    assert len(set().union(*map(keys, everybody))) == 4 * len(LIMITS)


def test_flex_is_counted_apart_and_the_other_tiers_together() -> None:
    on_demand, flex, performance = (
        keys(windows(0.0, tier=tier)) for tier in ("on_demand", "flex", "performance")
    )
    assert on_demand == performance
    assert not on_demand & flex


def test_organisations_do_not_all_begin_anew_in_one_second() -> None:
    ends = [int(windows(0.0, org_id=f"org_{number}")[0].end) for number in range(600)]
    assert max(map(ends.count, ends)) < 60
