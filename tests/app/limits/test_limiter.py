"""Whose budget a request is charged to: organisations, models, tiers and plans apart."""

import pytest

from app.errors import ApiError
from app.limits.failover import FailoverCounters
from app.limits.limiter import RateLimits
from app.limits.plans import Plans
from tests.app.limits.world import MODEL, Clock, Tenants


async def test_one_organisations_use_is_nobody_elses(tenant: Tenants) -> None:
    acme, globex = tenant("a", tpm=100), tenant("b", tpm=100)
    await acme.refusal(tokens=100)
    assert await globex.refusal(tokens=100) is None


async def test_one_models_use_is_no_others(tenant: Tenants) -> None:
    acme = tenant(tpm=100)
    await acme.refusal(tokens=100)
    await (await acme.open(model="another")).reserve_tokens(100)


async def test_flex_has_a_budget_of_its_own_ten_times_as_large(tenant: Tenants) -> None:
    acme = tenant(tpm=100)
    await acme.refusal(tokens=100)
    await (await acme.open(tier="flex")).reserve_tokens(1000)
    with pytest.raises(ApiError, match=r"tier `flex` .* Limit 1000, Used 1000, Requested 1"):
        await (await acme.open(tier="flex")).reserve_tokens(1)


async def test_performance_is_no_second_budget(tenant: Tenants) -> None:
    acme = tenant(tpm=100)
    await acme.refusal(tokens=100)
    with pytest.raises(ApiError, match="service tier `performance`"):
        await (await acme.open(tier="performance")).reserve_tokens(1)


async def test_lines_of_batches_take_nothing_from_any_budget(tenant: Tenants) -> None:
    acme = tenant(rpm=2, rpd=2, tpm=100, tpd=100, ash=10, asd=10)
    for _ in range(3):
        line = await acme.open(tier="batch")
        await line.reserve_tokens(1000)
        await line.reserve_seconds(1000)
        await line.settle(tokens=5000)
        assert line.headers == {}
    assert await acme.left("requests") == 1
    assert await acme.refusal(tokens=100, seconds=10) is None


async def test_a_spent_budget_does_not_hold_lines_of_batches_up(tenant: Tenants) -> None:
    acme = tenant(rpd=1, tpm=100)
    assert await acme.refusal(tokens=100) is None
    assert await acme.refusal() is not None
    await (await acme.open(tier="batch")).reserve_tokens(100)


async def test_each_plan_has_its_limits(
    org_id: str, counters: FailoverCounters, clock: Clock
) -> None:
    small, large = {"models": {"*": {"rpd": 2}}}, {"models": {"*": {"rpd": 1000}}}
    plans = Plans.model_validate({"default": "s", "plans": {"s": small, "l": large}})
    limits = RateLimits(plans, counters, clock=clock)
    found = [
        (await limits.open(f"{org_id}{plan}", plan, MODEL, "on_demand")).headers
        for plan in (None, "s", "l", "gone")
    ]
    assert [headers["x-ratelimit-limit-requests"] for headers in found] == ["2", "2", "1000", "2"]


async def test_a_plan_allows_the_tiers_it_names(counters: FailoverCounters) -> None:
    free, paid = {"tiers": ["on_demand"]}, {"tiers": ["on_demand", "flex"]}
    plans = Plans.model_validate({"default": "free", "plans": {"free": free, "paid": paid}})
    limits = RateLimits(plans, counters)
    asked = [(None, "on_demand"), (None, "flex"), ("paid", "flex"), ("paid", "performance")]
    assert [limits.allows(*question) for question in asked] == [True, False, True, False]


async def test_a_plan_without_batches_is_told_apart(counters: FailoverCounters) -> None:
    plans = Plans.model_validate(
        {"default": "free", "plans": {"free": {"batches": False}, "a": {}}}
    )
    limits = RateLimits(plans, counters)
    asked = [(None, "batch"), ("gone", "batch"), ("a", "batch"), (None, "on_demand")]
    assert [limits.allows(*question) for question in asked] == [False, False, True, True]


async def test_without_plans_nothing_is_limited(counters: FailoverCounters) -> None:
    limits = RateLimits(None, counters)
    budget = await limits.open("org_1", None, MODEL, "flex")
    await budget.reserve_tokens(10**15)
    await budget.reserve_seconds(1e9)
    await budget.settle(tokens=10**16)
    assert budget.headers == {}
    assert limits.allows(None, "performance")
    assert limits.allows(None, "batch")
