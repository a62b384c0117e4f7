"""What `x-ratelimit-*` headers say of a budget, on answers and on refusals."""

import pytest

from tests.app.limits.test_durations import parse
from tests.app.limits.world import Clock, Tenants


async def test_headers_tell_requests_per_day_and_tokens_per_minute(
    tenant: Tenants, clock: Clock
) -> None:
    budget = await tenant(rpm=30, rpd=14400, tpm=6000, tpd=500_000).open()
    await budget.reserve_tokens(1000)
    headers = dict(budget.headers)
    day = parse(headers.pop("x-ratelimit-reset-requests"))
    minute = parse(headers.pop("x-ratelimit-reset-tokens"))
    assert headers == {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14399",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5000",
    }
    assert 0 < minute <= 60
    assert 0 < day <= 86400


async def test_headers_are_whole_before_tokens_are_reserved(tenant: Tenants) -> None:
    acme = tenant(rpd=10, tpm=100)
    await acme.refusal(tokens=40)
    headers = (await acme.open()).headers
    assert headers["x-ratelimit-remaining-requests"] == "8"
    assert headers["x-ratelimit-remaining-tokens"] == "60"


async def test_headers_follow_the_clock(tenant: Tenants, clock: Clock) -> None:
    budget = await tenant(tpm=100).open()
    await budget.reserve_tokens(40)
    reset = parse(budget.headers["x-ratelimit-reset-tokens"])
    clock.now += reset / 2
    assert parse(budget.headers["x-ratelimit-reset-tokens"]) == pytest.approx(reset / 2, abs=0.002)
    clock.now += reset
    assert budget.headers["x-ratelimit-remaining-tokens"] == "100"
    assert budget.headers["x-ratelimit-reset-tokens"] == "0s"


@pytest.mark.parametrize("limits", [{"rpm": 1, "rpd": 100, "tpm": 100}, {"rpd": 1, "tpm": 100}])
async def test_a_refusal_carries_the_headers_too(tenant: Tenants, limits: dict[str, int]) -> None:
    acme = tenant(**limits)
    await acme.refusal(tokens=40)
    refused = await acme.refusal()
    assert refused is not None
    left = limits["rpd"] - 1
    assert refused.headers["x-ratelimit-remaining-requests"] == str(left)
    assert refused.headers["x-ratelimit-remaining-tokens"] == "60"
    assert "x-ratelimit-reset-requests" in refused.headers


@pytest.mark.parametrize("tokens", [50, 500])
async def test_a_refusal_of_tokens_tells_what_is_left_without_it(
    tenant: Tenants, tokens: int
) -> None:
    acme = tenant(rpd=10, tpm=100)
    await acme.refusal(tokens=70)
    refused = await acme.refusal(tokens=tokens)
    assert refused is not None
    assert refused.headers["x-ratelimit-remaining-tokens"] == "30"


async def test_what_is_not_limited_has_no_headers(tenant: Tenants) -> None:
    assert (await tenant(rpm=10, tpd=10).open()).headers == {}
    assert set((await tenant(tpm=10).open()).headers) == {
        f"x-ratelimit-{part}-tokens" for part in ("limit", "remaining", "reset")
    }
