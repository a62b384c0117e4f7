"""Admission: bounds by tier in requests and prompt tokens, and what who is too many is told."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.errors import AdapterCapacityExceeded
from app.engine.base import ModelCard
from app.errors import ApiError
from app.inference.admission import BoundedAdmission
from app.inference.tiers import Tier

MODEL = "tiny"
CARD = ModelCard(MODEL, "system", 100, 100, "fp_0", max_running=10, cache_tokens=1000)
TIERS = get_args(Tier)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> BoundedAdmission:
    """10 run, 20 wait, 1 is reserved."""
    return BoundedAdmission([CARD], queue=2.0, reserve=0.1, clock=clock)


def fill(admission, stack, tier, count, tokens=1):
    for _ in range(count):
        stack.enter_context(admission.enter(MODEL, tier, tokens))


def refused(admission, tier, tokens=1) -> ApiError | None:
    try:
        with admission.enter(MODEL, tier, tokens):
            return None
    except ApiError as error:
        return error


@pytest.mark.parametrize(
    ("tier", "most"), [("performance", 31), ("on_demand", 30), ("flex", 9), ("batch", 9)]
)
def test_each_tier_has_a_bound_of_its_own(admission, tier, most):
    with ExitStack() as stack:
        fill(admission, stack, tier, most)
        assert refused(admission, tier) is not None
    assert refused(admission, tier) is None


def test_flex_is_told_at_once_that_its_capacity_is_exceeded(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 9)
        error = refused(admission, "flex")
        assert (error.status, error.code) == (498, "capacity_exceeded")
        assert refused(admission, "on_demand") is None


def test_performance_has_places_left_when_on_demand_is_over_capacity(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 30)
        assert refused(admission, "on_demand").status == 503
        assert refused(admission, "performance") is None


def test_long_prompts_fill_a_queue_that_takes_many_short_ones(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 3, tokens=999)
        assert refused(admission, "on_demand", tokens=4).status == 503
        assert refused(admission, "on_demand", tokens=3) is None
        assert refused(admission, "performance", tokens=100) is None


def test_flex_takes_no_more_tokens_than_the_cache_has_left(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 1, tokens=500)
        assert refused(admission, "flex", tokens=400) is None
        assert refused(admission, "flex", tokens=401).status == 498


@pytest.mark.parametrize("tier", TIERS)
def test_a_prompt_of_any_length_may_be_alone(admission, tier):
    assert refused(admission, tier, tokens=10**9) is None


@pytest.mark.parametrize("tier", TIERS)
def test_a_model_that_runs_one_request_runs_it_at_every_tier(tier):
    admission = BoundedAdmission([replace(CARD, max_running=1)], queue=0)
    assert refused(admission, tier) is None


def test_models_have_gates_of_their_own():
    admission = BoundedAdmission([CARD, replace(CARD, id="other")], queue=0)
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 10)
        with admission.enter("other", "on_demand", 1):
            assert refused(admission, "on_demand") is not None


def test_rendering_takes_a_place_for_its_time(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 29)
        with admission.rendering(MODEL, "on_demand", 1):
            with pytest.raises(ApiError), admission.rendering(MODEL, "on_demand", 1):
                pass
            with pytest.raises(ApiError):
                admission.check(MODEL, "on_demand")
        admission.check(MODEL, "on_demand")


def test_retry_after_is_how_long_what_waits_takes_at_the_pace_of_late(admission, clock):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 29)
        for _ in range(100):
            with admission.enter(MODEL, "on_demand", 1):
                clock.now += 0.5
        fill(admission, stack, "on_demand", 1)
        # 20 more than run, two places a second.
        assert refused(admission, "on_demand").headers["retry-after"] == "10"


def test_retry_after_counts_long_prompts_by_their_tokens(admission, clock):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 5, tokens=500)
        for _ in range(10):
            with admission.enter(MODEL, "on_demand", 500):
                clock.now += 4
        # 1,500 tokens too many for the cache are three of these prompts, at four seconds each.
        assert refused(admission, "on_demand", tokens=501).headers["retry-after"] == "12"


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (0.4, "1"), (22, "44"), (90, "60")])
def test_retry_after_stays_within_what_clients_heed(admission, clock, seconds, said):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 30)
        clock.now += seconds
        assert refused(admission, "on_demand").headers["retry-after"] == said


def test_retry_after_grows_while_nothing_ends(admission, clock):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 29)
        for _ in range(64):
            with admission.enter(MODEL, "on_demand", 1):
                clock.now += 0.1
        fill(admission, stack, "on_demand", 1)
        before = refused(admission, "on_demand").headers["retry-after"]
        clock.now += 64
        after = refused(admission, "on_demand").headers["retry-after"]
    assert (before, after) == ("2", "22")


def test_a_time_in_which_little_was_asked_for_does_not_count_as_a_slow_pace(admission, clock):
    for _ in range(100):
        with admission.enter(MODEL, "on_demand", 1):
            clock.now += 60
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 30)
        clock.now += 1
        # The ten that run may end any moment now, and the 20 others take two such times.
        assert refused(admission, "on_demand").headers["retry-after"] == "2"


def test_neither_rendering_nor_a_refused_lease_counts_as_an_end(admission, clock):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 29)
        for _ in range(100):
            with admission.rendering(MODEL, "on_demand", 1):
                pass
            with (
                pytest.raises(AdapterCapacityExceeded),
                admission.enter(MODEL, "on_demand", 1),
            ):
                raise AdapterCapacityExceeded("no turn")
        clock.now += 10
        fill(admission, stack, "on_demand", 1)
        assert refused(admission, "on_demand").headers["retry-after"] == "20"


def test_stats_count_what_is_inside_and_who_was_refused(admission):
    with ExitStack() as stack:
        fill(admission, stack, "on_demand", 11, tokens=3)
        fill(admission, stack, "performance", 1, tokens=5)
        refused(admission, "flex")
        refused(admission, "on_demand", tokens=10_000)
        admission.refusal(MODEL, "on_demand", "adapter")
        stats = admission.stats()[MODEL]
    assert stats.inside == {"on_demand": 11, "performance": 1}
    assert (stats.waiting, stats.tokens) == (2, 38)
    assert stats.refused == {
        ("flex", "requests"): 1,
        ("on_demand", "tokens"): 1,
        ("on_demand", "adapter"): 1,
    }


steps = st.lists(
    st.tuples(st.sampled_from(TIERS), st.integers(1, 1200), st.booleans(), st.integers(0, 40)),
    max_size=120,
)


@given(steps=steps, queue=st.floats(0, 3), reserve=st.floats(0, 0.5), running=st.integers(1, 12))
def test_never_more_than_the_bound_is_inside_and_all_that_enters_leaves(
    steps, queue, reserve, running
):
    card = replace(CARD, max_running=running)
    admission = BoundedAdmission([card], queue=queue, reserve=reserve)
    inside: list[tuple[Tier, int, ExitStack]] = []
    for tier, tokens, fails, leaver in steps:
        stack = ExitStack()
        try:
            stack.enter_context(admission.enter(MODEL, tier, tokens))
        except ApiError:
            assert inside, "an empty gate refuses nobody"
        else:
            inside.append((tier, tokens, stack))
            counted = inside if tier == "batch" else [e for e in inside if e[0] != "batch"]
            assert len(counted) == 1 or _is_within(counted, card, queue, reserve)
        _is_counted(admission, inside)
        if leaver < len(inside):
            _leave(inside.pop(leaver)[2], fails)
    while inside:
        _leave(inside.pop()[2], fails=True)
    _is_counted(admission, inside)


def _leave(stack: ExitStack, fails: bool) -> None:
    if not fails:
        stack.close()
        return
    with pytest.raises(RuntimeError, match="gone"), stack:
        raise RuntimeError("gone")


def _is_within(inside, card, queue, reserve) -> bool:
    """Tell whether the one that came last had room beside the others."""
    tier, tokens = inside[-1][0], sum(tokens for _, tokens, _ in inside)
    times = {"performance": 1 + queue + reserve, "on_demand": 1 + queue}.get(tier, 1 - reserve)
    rounding = 1 if tier == "performance" else 0
    most = max(1, card.max_running * times + rounding)
    return len(inside) <= most and tokens <= card.cache_tokens * times + 1


def _is_counted(admission, inside) -> None:
    stats = admission.stats()[MODEL]
    counted = Counter(tier for tier, _, _ in inside)
    assert {tier: count for tier, count in stats.inside.items() if count} == counted
    assert stats.tokens == sum(tokens for _, tokens, _ in inside)
