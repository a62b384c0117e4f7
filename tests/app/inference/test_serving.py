"""One request's life: what is counted, reserved, held and given back, however it ends."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.errors import AdapterLoadFailed, RegistryError
from app.engine.base import (
    AnswerUnreadable,
    ChatJob,
    Delta,
    EngineDead,
    EngineError,
    EngineOverloaded,
    PromptTooLong,
    Sampling,
)
from app.errors import ApiError, invalid_request
from app.inference.generation import Generation
from app.inference.tiers import PRIORITIES, AskedTier
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, USAGE, InferenceRig, answer

JOB = ChatJob([{"role": "user", "content": "hi"}], Sampling(max_tokens=50), "salt")
PROMPT, MOST, USED = USAGE.prompt_tokens, 50, USAGE.prompt_tokens + USAGE.completion_tokens
FULL = ApiError(429, "Rate limit reached", code="rate_limit_exceeded")
TOO_LARGE = ApiError(413, "Request too large", code="rate_limit_exceeded")


@pytest.fixture
def rig() -> InferenceRig:
    return InferenceRig()


async def generate(served: Generation, job: ChatJob = JOB) -> list[Delta]:
    async with aclosing(served.generate(await served.prepare(job))) as deltas:
        return [delta async for delta in deltas]


async def ask(
    rig: InferenceRig, *, model: str = BASE, tier: AskedTier | None = None, job: ChatJob = JOB
) -> str:
    """Return the tier that answered."""
    async with rig.inference.open(Generation, rig.context, model, tier) as served:
        await generate(served, job)
        return served.tier


async def refusal(rig: InferenceRig, **asked: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await ask(rig, **asked)
    return caught.value


def charges(rig: InferenceRig) -> list[tuple[str, list[int], list[int]]]:
    return [(budget.tier, budget.reserved, budget.settled) for budget in rig.limits.budgets]


async def test_what_might_be_generated_is_reserved_and_what_was_is_paid(rig: InferenceRig) -> None:
    rig.engine.script = answer("a", "b")
    await ask(rig)
    assert charges(rig) == [("on_demand", [PROMPT + MOST], [USED])]


async def test_without_a_limit_only_the_prompt_is_reserved(rig: InferenceRig) -> None:
    rig.engine.script = answer("a")
    await ask(rig, job=replace(JOB, sampling=Sampling()))
    assert charges(rig) == [("on_demand", [PROMPT], [USED])]


async def test_cached_tokens_are_not_paid(rig: InferenceRig) -> None:
    rig.engine.script = answer("a", usage=replace(USAGE, cached_tokens=5))
    await ask(rig)
    assert charges(rig)[0][2] == [USED - 5]


async def test_several_runs_of_a_request_are_paid_together(rig: InferenceRig) -> None:
    rig.engine.script = answer("a")
    async with rig.inference.open(Generation, rig.context, BASE, None) as served:
        for prompt in await served.prepare_all([JOB, JOB]):
            async with aclosing(served.generate(prompt)) as deltas:
                async for _ in deltas:
                    pass
    assert charges(rig) == [("on_demand", [2 * (PROMPT + MOST)], [2 * USED])]
    assert len({run.request_id for run in rig.engine.runs}) == 2


@pytest.mark.parametrize(
    ("error", "status"), [(EngineDead(), 503), (EngineOverloaded(), 503), (EngineError(), 500)]
)
async def test_what_the_server_fails_to_answer_is_not_paid(
    rig: InferenceRig, error: EngineError, status: int
) -> None:
    rig.engine.script = [Delta("a", tokens=1), error]
    assert (await refusal(rig)).status == status
    assert charges(rig) == [("on_demand", [PROMPT + MOST], [0])]


async def test_a_prompt_that_cannot_be_rendered_is_not_paid(rig: InferenceRig) -> None:
    rig.engine.refusal = PromptTooLong()
    assert (await refusal(rig)).code == "context_length_exceeded"
    assert charges(rig) == [("on_demand", [], [0])]


async def test_a_prompt_that_never_fits_is_not_told_to_come_again(rig: InferenceRig) -> None:
    rig.engine.refusal = PromptTooLong()
    huge = replace(JOB, messages=[{"role": "user", "content": "x" * 20_000_000}])
    with rig.admission.enter(BASE, "on_demand", PROMPT):
        assert (await refusal(rig, job=huge)).code == "context_length_exceeded"


async def test_a_lease_that_is_not_had_is_not_paid(rig: InferenceRig) -> None:
    rig.adapters.error = AdapterLoadFailed("d")
    assert (await refusal(rig, model=ADAPTER_MODEL)).status == 503
    assert charges(rig) == [("on_demand", [PROMPT + MOST], [0])]


@pytest.mark.parametrize("tier", ["on_demand", "performance", "flex"])
async def test_each_tier_runs_at_its_own_priority(rig: InferenceRig, tier: AskedTier) -> None:
    rig.engine.script = answer("a")
    assert await ask(rig, tier=tier) == tier
    assert rig.engine.runs[0].priority == PRIORITIES[tier]  # type: ignore[index]


async def test_no_tier_asked_for_is_on_demand(rig: InferenceRig) -> None:
    rig.engine.script = answer("a")
    assert await ask(rig) == "on_demand"


async def test_a_tier_outside_the_plan_is_refused(rig: InferenceRig) -> None:
    rig.limits.tiers = {"on_demand"}
    error = await refusal(rig, tier="flex")
    assert (error.status, error.code, error.param) == (
        400,
        "not_available_for_plan",
        "service_tier",
    )
    assert error.message == "The service tier `flex` is not available on your plan."


async def test_auto_is_the_best_tier_of_the_plan(rig: InferenceRig) -> None:
    rig.engine.script = answer("a")
    assert await ask(rig, tier="auto") == "performance"
    rig.limits.tiers = {"on_demand", "flex"}
    assert await ask(rig, tier="auto") == "on_demand"


@pytest.mark.parametrize("refused", [FULL, TOO_LARGE])
@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
async def test_auto_goes_on_to_a_tier_with_limits_of_its_own_where_one_has_no_room(
    rig: InferenceRig, stage: str, refused: ApiError
) -> None:
    """Performance and on_demand count against the same limits."""
    rig.engine.script = answer("a")
    getattr(rig.limits, stage)["performance"] = refused
    assert await ask(rig, tier="auto") == "flex"
    assert rig.engine.runs[0].priority == PRIORITIES["flex"]
    assert charges(rig)[-1] == ("flex", [PROMPT + MOST], [USED])
    assert "on_demand" not in {budget.tier for budget in rig.limits.budgets}


async def test_an_answer_that_no_parser_can_read_is_the_models_and_charged(
    rig: InferenceRig,
) -> None:
    rig.engine.script = [Delta("a", tokens=2), AnswerUnreadable("<tool_call>{")]
    error = await refusal(rig)
    assert (error.status, error.code) == (400, "tool_use_failed")
    assert error.extra == {"failed_generation": "<tool_call>{"}
    assert charges(rig)[-1][2] == [PROMPT + 2]


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
async def test_auto_says_why_the_last_tier_has_no_room(rig: InferenceRig, stage: str) -> None:
    last = ApiError(429, "flex is full", code="rate_limit_exceeded")
    getattr(rig.limits, stage).update(performance=FULL, on_demand=FULL, flex=last)
    assert await refusal(rig, tier="auto") is last
    assert rig.engine.runs == []


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
async def test_a_tier_asked_for_by_name_is_the_only_one_tried(
    rig: InferenceRig, stage: str
) -> None:
    getattr(rig.limits, stage)["on_demand"] = FULL
    assert await refusal(rig) is FULL
    assert {budget.tier for budget in rig.limits.budgets} <= {"on_demand"}


async def test_only_a_limit_makes_auto_go_on(rig: InferenceRig) -> None:
    wrong = invalid_request("no")
    rig.limits.no_requests["performance"] = wrong
    assert await refusal(rig, tier="auto") is wrong


async def test_the_headers_tell_the_limits_before_and_after(rig: InferenceRig) -> None:
    rig.engine.script = answer("a")
    async with rig.inference.open(Generation, rig.context, BASE, None) as served:
        assert rig.context.headers == {"x-ratelimit-remaining-tokens": "6000"}
        await served.prepare(JOB)
        left = 6000 - PROMPT - MOST
        assert rig.context.headers == {"x-ratelimit-remaining-tokens": str(left)}
    assert rig.context.headers == {"x-ratelimit-remaining-tokens": "6000"}


DELTAS = st.lists(st.integers(0, 3).map(lambda tokens: Delta("a", tokens=tokens)), max_size=4)
ENDINGS = st.sampled_from(["answer", "nothing", "dead", "wait"])
CUTS = st.sampled_from(["read", "close", "cancel", "fail"])
MODELS = st.sampled_from([BASE, ADAPTER_MODEL])
ERRORS: dict[str, list[Any]] = {"answer": answer("z"), "nothing": [], "dead": [EngineDead()]}


async def read(rig: InferenceRig, model: str, cut: str, after: int) -> None:
    """Read a request's deltas, and stop after some of them in one of the ways there are."""
    async with rig.inference.open(Generation, rig.context, model, None) as served:
        deltas = served.generate(await served.prepare(JOB))
        async with aclosing(deltas):
            async for _ in deltas:
                if after == 0 and cut == "close":
                    return
                if after == 0 and cut == "fail":
                    raise invalid_request("not what was asked")
                after -= 1


@given(DELTAS, ENDINGS, CUTS, st.integers(0, 5), MODELS)
async def test_everything_is_given_back_exactly_once_however_a_request_ends(
    deltas: list[Delta], ending: str, cut: str, after: int, model: str
) -> None:
    rig = InferenceRig()
    waits = ending == "wait"
    rig.engine.script = [*deltas, *([asyncio.Event()] if waits else ERRORS[ending])]
    reading = asyncio.ensure_future(read(rig, model, cut, after))
    if waits:
        waiting = asyncio.ensure_future(rig.engine.waiting.wait())
        await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        waiting.cancel()
    outcome = (await asyncio.gather(reading, return_exceptions=True))[0]

    assert outcome is None or isinstance(outcome, ApiError | asyncio.CancelledError)
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    (stats,) = rig.admission.stats().values()
    assert (sum(stats.inside.values()), stats.tokens) == (0, 0)
    ((_, _, settled),) = charges(rig)
    (paid,) = settled
    assert paid == what_is_owed(rig, outcome)


def what_is_owed(rig: InferenceRig, outcome: BaseException | None) -> int:
    """An answer is paid, and what a caller gave up on; not what the server failed at."""
    if rig.observer.usages:
        return USED
    if isinstance(outcome, ApiError) and outcome.status >= 500:
        return 0
    ((_, prompt, completion),) = rig.observer.cut
    return prompt + completion


@pytest.mark.parametrize("error", [AdapterLoadFailed("d")])
async def test_no_place_is_kept_for_what_did_not_run(
    rig: InferenceRig, error: RegistryError
) -> None:
    rig.adapters.error = error
    await refusal(rig, model=ADAPTER_MODEL)
    (stats,) = rig.admission.stats().values()
    assert sum(stats.inside.values()) == 0
