"""What the metrics are told of tenants: who asked, which adapter answered, whom a limit refused."""

from contextlib import aclosing

import pytest

from app.engine.base import ChatJob, Sampling
from app.errors import ApiError, invalid_request
from app.inference.generation import Generation
from app.inference.tiers import AskedTier
from app.usage.types import Account, Amounts
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, ORG, USAGE, InferenceRig, answer

JOB = ChatJob([{"role": "user", "content": "hi"}], Sampling(max_tokens=50), "salt")
USED = Amounts(1, USAGE.prompt_tokens, USAGE.cached_tokens, USAGE.completion_tokens)
FULL = ApiError(429, "Rate limit reached", type="tokens", code="rate_limit_exceeded")


@pytest.fixture
def rig() -> InferenceRig:
    rig = InferenceRig()
    rig.engine.script = answer("a", "b")
    return rig


async def ask(rig: InferenceRig, model: str, tier: AskedTier | None = None) -> None:
    async with (
        rig.inference.open(Generation, rig.context, model, tier) as served,
        aclosing(served.generate(await served.prepare(JOB))) as deltas,
    ):
        async for _ in deltas:
            pass


@pytest.mark.parametrize(("model", "adapter"), [(BASE, ""), (ADAPTER_MODEL, ADAPTER_MODEL)])
async def test_a_request_is_told_once_with_its_organisation_and_adapter(
    rig: InferenceRig, model: str, adapter: str
) -> None:
    await ask(rig, model)
    assert rig.observer.used_amounts == [(Account(ORG, "key_1", BASE, adapter, False), USED)]


async def test_an_adapter_s_first_token_is_told_with_its_id(rig: InferenceRig) -> None:
    await ask(rig, ADAPTER_MODEL)
    assert [told[:2] for told in rig.observer.adapter_first_tokens] == [(BASE, ADAPTER_MODEL)]
    assert len(rig.observer.first_tokens) == 1


async def test_a_base_model_s_first_token_is_no_adapter_s(rig: InferenceRig) -> None:
    await ask(rig, BASE)
    assert rig.observer.adapter_first_tokens == []
    assert len(rig.observer.first_tokens) == 1


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
async def test_a_refusal_of_a_limit_is_told_with_the_unit_that_is_used_up(
    rig: InferenceRig, stage: str
) -> None:
    getattr(rig.limits, stage)["on_demand"] = FULL
    with pytest.raises(ApiError):
        await ask(rig, BASE)
    assert rig.observer.limit_refusals == [(ORG, BASE, "on_demand", "tokens")]


async def test_a_tier_that_gives_way_to_the_next_is_no_refusal(rig: InferenceRig) -> None:
    rig.limits.no_requests["performance"] = FULL
    await ask(rig, BASE, "auto")
    assert rig.observer.limit_refusals == []


async def test_what_is_no_limit_s_doing_is_no_refusal_of_one(rig: InferenceRig) -> None:
    rig.limits.no_requests["on_demand"] = invalid_request("no")
    with pytest.raises(ApiError):
        await ask(rig, BASE)
    assert rig.observer.limit_refusals == []
