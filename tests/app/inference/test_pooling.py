"""What becomes of a request of many inputs: their order, how many run at once, what is paid."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.base import EngineDead, EngineError, EngineOverloaded, PromptRefused
from app.engine.pooling import EmbeddingJob, InputRefused, RerankingJob, Vector
from app.errors import ApiError
from app.inference.pooling import SHARE, Embedding, Reranking
from tests.app.inference.pooling_stubs import PoolingRig
from tests.app.inference.stubs import (
    ADAPTER_HEADERS,
    ADAPTER_MODEL,
    BASE,
    CARD,
    REQUEST,
    InferenceRig,
)

AT_ONCE = CARD.max_running // SHARE


@pytest.fixture
def rig() -> PoolingRig:
    return PoolingRig("embedding")


async def embed(rig: PoolingRig, *inputs: str | Sequence[int], model: str = BASE) -> list[Vector]:
    async with rig.inference.open(Embedding, rig.context, model) as served:
        job = EmbeddingJob(inputs, served.cache_salt)
        prompts = await served.prepare(job, estimated_tokens=sum(map(len, inputs)))
        return await served.pool(prompts)


async def score(rig: PoolingRig, *docs: str) -> list[float]:
    async with rig.inference.open(Reranking, rig.context, BASE) as served:
        prompts = await served.prepare(RerankingJob("q", docs, "salt"), estimated_tokens=1)
        return [vector.item() for vector in await served.pool(prompts)]


async def refusal(rig: PoolingRig, *inputs: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await embed(rig, *inputs)
    return caught.value


def charges(rig: PoolingRig) -> list[tuple[list[int], list[int]]]:
    return [(budget.reserved, budget.settled) for budget in rig.limits.budgets]


def ran(rig: PoolingRig) -> int:
    return sum(usage.prompt_tokens for _, usage in rig.observer.usages)


@given(numbers=st.lists(st.integers(0, 1000), min_size=1, max_size=40, unique=True))
async def test_each_input_gets_its_own_numbers(numbers: list[int]) -> None:
    rig = PoolingRig("embedding")
    rig.engine.answers = {str(number): [number, -number] for number in numbers}
    vectors = await embed(rig, *map(str, numbers))
    assert [vector.tolist() for vector in vectors] == [[number, -number] for number in numbers]


async def test_inputs_that_end_in_another_order_keep_theirs(rig: PoolingRig) -> None:
    late = asyncio.Event()
    rig.engine.answers = {"late": late, "soon": [2.0], "next": [3.0]}
    embedding = asyncio.ensure_future(embed(rig, "late", "soon", "next"))
    await rig.engine.until(lambda: len(rig.engine.runs) == 3 and rig.engine.running == 1)
    late.set()
    assert [vector.item() for vector in await embedding] == [1.0, 2.0, 3.0]


async def test_a_quarter_of_what_the_engine_runs_is_run_at_once(rig: PoolingRig) -> None:
    await embed(rig, *["a"] * 20)
    assert rig.engine.most_running == AT_ONCE > 1


async def test_many_long_inputs_run_one_after_the_other(rig: PoolingRig) -> None:
    rig.engine.card = replace(rig.engine.card, cache_tokens=40)
    await embed(rig, *["a" * 100] * 3)
    assert rig.engine.most_running == 1


async def test_the_request_has_one_place_for_the_tokens_that_run_at_once(rig: PoolingRig) -> None:
    wait = asyncio.Event()
    rig.engine.answers = {"wait": wait}
    embedding = asyncio.ensure_future(embed(rig, "wait", "a", "aa", "aaa"))
    await rig.engine.waiting.wait()
    stats = rig.admission.stats()[BASE]
    assert (sum(stats.inside.values()), stats.tokens) == (1, len("wait") + len("aaa"))
    wait.set()
    await embedding
    assert rig.admission.stats()[BASE].tokens == 0


async def test_each_input_runs_under_an_id_of_its_own(rig: PoolingRig) -> None:
    await embed(rig, *["a"] * 5)
    assert sorted(run.request_id for run in rig.engine.runs) == [
        f"{REQUEST}-{number}" for number in range(5)
    ]


async def test_all_tokens_are_reserved_before_any_input_runs(rig: PoolingRig) -> None:
    rig.limits.no_tokens = {"on_demand": ApiError(429, "Rate limit reached")}
    assert (await refusal(rig, "aa", "bbb")).status == 429
    assert rig.engine.runs == []
    rig.limits.no_tokens = {}
    await embed(rig, "aa", [7, 8, 9])
    assert charges(rig)[1] == ([5], [5])
    assert ran(rig) == 5


async def test_cancelling_aborts_what_runs_and_begins_nothing_more(rig: PoolingRig) -> None:
    rig.engine.answers = {"wait": asyncio.Event()}
    embedding = asyncio.ensure_future(embed(rig, "done", *["wait"] * 10, model=ADAPTER_MODEL))
    await rig.engine.until(lambda: len(rig.engine.runs) == AT_ONCE + 1)
    embedding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await embedding
    assert rig.engine.aborted == AT_ONCE
    assert len(rig.engine.runs) == AT_ONCE + 1
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    assert charges(rig) == [([44], [4])]
    assert ran(rig) == 4


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineDead("pid 7"), 503),
        (EngineOverloaded(), 503),
        (EngineError("cuda"), 500),
        (PromptRefused("Not this one."), 400),
    ],
)
async def test_one_failing_input_fails_the_request_and_ends_the_others(
    rig: PoolingRig, error: EngineError, status: int
) -> None:
    rig.engine.answers = {"wait": asyncio.Event(), "bad": error}
    answer = await refusal(rig, "wait", "bad", "never", "never")
    assert answer.status == status
    assert (rig.engine.aborted, rig.engine.running, len(rig.engine.runs)) == (1, 0, 2)
    assert "pid" not in answer.message


async def test_what_the_server_fails_at_is_not_paid_though_a_part_of_it_ran(
    rig: PoolingRig,
) -> None:
    rig.engine.answers = {"bad": EngineDead()}
    await refusal(rig, "a", "a", "bad")
    assert charges(rig) == [([5], [0])]
    assert ran(rig) == 2


async def test_an_error_that_is_no_engine_s_comes_out_as_it_is(rig: PoolingRig) -> None:
    rig.engine.answers = {"bad": LookupError("a bug")}
    with pytest.raises(LookupError, match="a bug"):
        await embed(rig, "bad", "a")


async def test_an_input_that_cannot_be_taken_is_named(rig: PoolingRig) -> None:
    rig.engine.refusal = InputRefused(3, "too_long", 900)
    answer = await refusal(rig, "a")
    assert answer.message == "'input.3' : value is longer than the model's context window"
    assert (answer.param, answer.code) == ("input.3", "context_length_exceeded")
    assert charges(rig) == [([], [0])]


async def test_the_adapter_is_leased_once_and_told_of_in_headers(rig: PoolingRig) -> None:
    await embed(rig, "a", "b", model=ADAPTER_MODEL)
    assert (rig.adapters.given, rig.adapters.held) == (1, 0)
    assert [run.adapter is not None for run in rig.engine.runs] == [True, True]
    assert rig.context.headers == {**ADAPTER_HEADERS, "x-ratelimit-remaining-tokens": "5998"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
async def test_numbers_that_are_none_are_the_engine_s_error(rig: PoolingRig, number: float) -> None:
    rig.engine.answers = {"bad": [0.5, number]}
    assert (await refusal(rig, "a", "bad")).status == 500


@pytest.mark.parametrize(("model", "told"), [(1.0005, 1.0), (-0.0005, 0.0), (0.25, 0.25)])
async def test_a_score_that_rounding_has_carried_out_is_taken_back(
    model: float, told: float
) -> None:
    rig = PoolingRig("reranking")
    rig.engine.answers = {"doc": [model]}
    assert await score(rig, "doc") == [told]


@pytest.mark.parametrize("number", [1.1, -0.1, float("nan"), float("inf")])
async def test_a_score_out_of_bounds_is_the_engine_s_error(number: float) -> None:
    rig = PoolingRig("reranking")
    rig.engine.answers = {"doc": [number]}
    with pytest.raises(ApiError) as caught:
        await score(rig, "fine", "doc")
    assert caught.value.status == 500


async def test_a_model_of_another_kind_is_refused(rig: PoolingRig) -> None:
    with pytest.raises(ApiError, match="does not support reranking"):
        await score(rig, "doc")
    with pytest.raises(ApiError, match="does not support embeddings"):
        async with InferenceRig().inference.open(Embedding, rig.context, BASE):
            pass
