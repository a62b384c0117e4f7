"""Budgets of requests: what is admitted, what is refused and in which words.

Everything here holds in memory and on Redis alike.
"""

import asyncio
import re

import pytest

from app.errors import ApiError
from app.limits.counters import Addition, MemoryCounters
from app.limits.failover import FailoverCounters
from tests.app.limits.test_durations import parse
from tests.app.limits.world import MODEL, Clock, Observer, Tenant, Tenants


def message_of(
    window: str, *, limit: int, used: int, requested: int, org_id: str, tier: str = "on_demand"
) -> str:
    return (
        rf"Rate limit reached for model `{MODEL}` in organization `{org_id}` service tier "
        rf"`{tier}` on {re.escape(window)}: Limit {limit}, Used {used}, Requested {requested}\. "
        r"Please try again in (?P<wait>(\d+h)?(\d+m)?([\d.]+m?s)?)\."
    )


REQUESTS = [("rpm", "requests per minute (RPM)"), ("rpd", "requests per day (RPD)")]
TOKENS = [("tpm", "tokens per minute (TPM)"), ("tpd", "tokens per day (TPD)")]
SECONDS = [("ash", "seconds of audio per hour (ASPH)"), ("asd", "seconds of audio per day (ASPD)")]


@pytest.mark.parametrize(("name", "window"), REQUESTS)
async def test_requests_beyond_the_limit_are_refused(
    tenant: Tenants, name: str, window: str
) -> None:
    acme = tenant(**{name: 3})
    assert [await acme.refusal() for _ in range(3)] == [None] * 3
    refused = await acme.refusal()
    assert refused is not None
    expected = message_of(window, limit=3, used=3, requested=1, org_id=acme.org_id)
    assert re.fullmatch(expected, refused.message)
    assert (refused.status, refused.type, refused.code) == (429, "requests", "rate_limit_exceeded")


@pytest.mark.parametrize(("name", "window"), TOKENS)
async def test_tokens_beyond_the_limit_are_refused(tenant: Tenants, name: str, window: str) -> None:
    acme = tenant(**{name: 6000})
    assert await acme.refusal(tokens=5800) is None
    refused = await acme.refusal(tokens=500)
    assert refused is not None
    expected = message_of(window, limit=6000, used=5800, requested=500, org_id=acme.org_id)
    assert re.fullmatch(expected, refused.message)
    assert (refused.status, refused.type, refused.code) == (429, "tokens", "rate_limit_exceeded")


@pytest.mark.parametrize(("name", "window"), SECONDS)
async def test_seconds_of_audio_beyond_the_limit_are_refused(
    tenant: Tenants, name: str, window: str
) -> None:
    acme = tenant(**{name: 100})
    assert await acme.refusal(seconds=89.2) is None
    refused = await acme.refusal(seconds=11)
    assert refused is not None
    expected = message_of(window, limit=100, used=90, requested=11, org_id=acme.org_id)
    assert re.fullmatch(expected, refused.message)
    assert (refused.status, refused.type, refused.code) == (429, "seconds", "rate_limit_exceeded")


@pytest.mark.parametrize(("name", "window"), TOKENS)
async def test_one_request_larger_than_the_whole_limit_is_too_large(
    tenant: Tenants, name: str, window: str
) -> None:
    acme = tenant(**{name: 8000})
    refused = await acme.refusal(tokens=78478)
    assert refused is not None
    assert refused.message == (
        f"Request too large for model `{MODEL}` in organization `{acme.org_id}` service tier "
        f"`on_demand` on {window}: Limit 8000, Requested 78478, please reduce your message size "
        "and try again."
    )
    assert (refused.status, refused.type, refused.code) == (413, "tokens", "rate_limit_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) >= 1


async def test_audio_longer_than_the_whole_limit_is_too_large(tenant: Tenants) -> None:
    refused = await tenant(ash=60).refusal(seconds=60.01)
    assert refused is not None
    assert (refused.status, refused.type) == (413, "seconds")


async def test_exactly_the_whole_limit_is_admitted(tenant: Tenants) -> None:
    assert await tenant(tpm=8000).refusal(tokens=8000) is None


async def test_a_retry_after_the_told_wait_is_admitted_and_not_before(
    tenant: Tenants, clock: Clock
) -> None:
    acme = tenant(tpm=100)
    assert await acme.refusal(tokens=100) is None
    refused = await acme.refusal(tokens=1)
    assert refused is not None
    told = re.search(r"try again in (\S+)\.$", refused.message)
    assert told is not None
    wait = parse(told[1])
    assert wait <= int(refused.headers["retry-after"]) < wait + 1
    clock.now += wait - 0.01
    assert await acme.refusal(tokens=1) is not None
    clock.now += 0.01
    assert await acme.refusal(tokens=1) is None


async def test_of_several_spent_windows_the_one_that_lasts_longest_is_named(
    tenant: Tenants,
) -> None:
    acme = tenant(tpm=100, tpd=100)
    await acme.refusal(tokens=100)
    refused = await acme.refusal(tokens=1)
    assert refused is not None
    assert "(TPD)" in refused.message


async def test_a_wait_of_hours_is_told_as_it_is(tenant: Tenants, clock: Clock) -> None:
    acme = tenant(rpd=1)
    await acme.refusal()
    refused = await acme.refusal()
    assert refused is not None
    assert int(refused.headers["retry-after"]) > 120
    clock.now += int(refused.headers["retry-after"])
    assert await acme.refusal() is None


async def test_a_refused_request_counts_for_nothing(tenant: Tenants, clock: Clock) -> None:
    acme = tenant(rpm=2, rpd=100)
    for _ in range(20):
        await acme.refusal()
    clock.now += 60
    assert await acme.left("requests") == 100 - 2 - 1


async def test_a_refused_day_leaves_the_minute_as_it_was(tenant: Tenants) -> None:
    acme = tenant(tpm=1000, tpd=100)
    budget = await acme.open()
    await budget.reserve_tokens(60)
    with pytest.raises(ApiError, match="TPD"):
        await (await acme.open()).reserve_tokens(60)
    assert await acme.left() == 940


async def test_a_request_whose_tokens_are_refused_stays_counted_as_a_request(
    tenant: Tenants,
) -> None:
    acme = tenant(rpd=10, tpm=100)
    assert await acme.refusal(tokens=101) is not None
    assert await acme.refusal(tokens=100) is None
    assert await acme.refusal(tokens=1) is not None
    assert await acme.left("requests") == 10 - 4


async def test_settling_gives_back_what_was_not_used(tenant: Tenants) -> None:
    acme = tenant(tpm=1000, tpd=1000)
    budget = await acme.open()
    await budget.reserve_tokens(900)
    await budget.settle(tokens=250)
    assert budget.headers["x-ratelimit-remaining-tokens"] == "750"
    assert await acme.refusal(tokens=751) is not None
    assert await acme.refusal(tokens=750) is None


async def test_settling_twice_is_settling_once(tenant: Tenants) -> None:
    acme = tenant(tpm=1000)
    budget = await acme.open()
    await budget.reserve_tokens(900)
    await budget.settle(tokens=800)
    await budget.settle(tokens=0)
    assert await acme.left() == 200


async def test_settling_for_more_charges_over_the_limit_too(tenant: Tenants) -> None:
    acme = tenant(tpm=1000)
    budget = await acme.open()
    await budget.reserve_tokens(900)
    await budget.settle(tokens=5000)
    assert budget.headers["x-ratelimit-remaining-tokens"] == "0"
    refused = await acme.refusal(tokens=1)
    assert refused is not None
    assert "Limit 1000, Used 5000, Requested 1" in refused.message


async def test_settling_after_the_window_credits_no_other(tenant: Tenants, clock: Clock) -> None:
    acme = tenant(tpm=1000, tpd=5000)
    budget = await acme.open()
    await budget.reserve_tokens(900)
    clock.now += 60
    assert await acme.refusal(tokens=600) is None
    await budget.settle(tokens=0)
    assert await acme.left() == 400
    assert await acme.refusal(tokens=401) is not None


async def test_settling_after_the_window_does_not_bring_its_counter_back(
    clock: Clock, observer: Observer
) -> None:
    local = MemoryCounters(clock)
    counters = FailoverCounters(None, local, observer, retry_seconds=5, clock=clock)
    budget = await Tenant("org_1", counters, clock, tpm=1000).open()
    await budget.reserve_tokens(900)
    clock.now += 120
    await local.add([Addition("another", 0, 60)])
    await budget.settle(tokens=0)
    assert len(local) == 1


async def test_settling_for_more_after_the_window_charges_the_one_of_now(
    tenant: Tenants, clock: Clock
) -> None:
    acme = tenant(tpm=1000)
    budget = await acme.open()
    await budget.reserve_tokens(100)
    clock.now += 60
    await budget.settle(tokens=400)
    assert await acme.left() == 700


@pytest.mark.parametrize("reserved", [None, 101])
async def test_settling_what_was_never_reserved_changes_nothing(
    tenant: Tenants, reserved: int | None
) -> None:
    acme = tenant(tpm=100)
    budget = await acme.open()
    if reserved is not None:
        with pytest.raises(ApiError):
            await budget.reserve_tokens(reserved)
    await budget.settle(tokens=0)
    assert await acme.left() == 100


async def test_tokens_are_reserved_once(tenant: Tenants) -> None:
    budget = await tenant(tpm=100).open()
    await budget.reserve_tokens(10)
    with pytest.raises(RuntimeError):
        await budget.reserve_tokens(10)


async def test_nobody_gains_by_a_negative_number(tenant: Tenants) -> None:
    acme = tenant(tpm=100, ash=100)
    budget = await acme.open()
    await budget.reserve_tokens(-50)
    await budget.reserve_seconds(-50)
    assert await acme.refusal(tokens=100, seconds=100) is None
    assert await acme.refusal(tokens=1) is not None
    assert await acme.refusal(seconds=1) is not None
    await budget.settle(tokens=-50)
    assert await acme.refusal(tokens=1) is not None


async def test_seconds_that_are_given_back_can_be_taken_again(tenant: Tenants) -> None:
    acme = tenant(ash=100, asd=1000)
    budget = await acme.open()
    await budget.reserve_seconds(60.5)
    await budget.return_seconds()
    await budget.return_seconds()
    assert await acme.refusal(seconds=100) is None
    assert await acme.refusal(seconds=1) is not None


async def test_a_hundred_parallel_reservations_get_exactly_the_limit(tenant: Tenants) -> None:
    acme = tenant(tpm=1000, tpd=100_000)
    refusals = await asyncio.gather(*(acme.refusal(tokens=30) for _ in range(100)))
    assert refusals.count(None) == 1000 // 30
    assert await acme.left() == 1000 % 30


async def test_a_hundred_parallel_requests_get_exactly_the_limit(tenant: Tenants) -> None:
    acme = tenant(rpm=40, rpd=1000)
    refusals = await asyncio.gather(*(acme.refusal() for _ in range(100)))
    assert refusals.count(None) == 40


async def test_a_hundred_parallel_requests_that_settle_leave_what_they_used(
    tenant: Tenants,
) -> None:
    acme = tenant(tpm=100_000)

    async def use(tokens: int) -> None:
        budget = await acme.open()
        await budget.reserve_tokens(1000)
        await budget.settle(tokens=tokens)

    await asyncio.gather(*map(use, range(100)))
    assert await acme.left() == 100_000 - sum(range(100))
