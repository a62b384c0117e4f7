"""What requests are told where the engine, its queue or an adapter's turn has no room for them."""

import asyncio
from contextlib import ExitStack, aclosing

import pytest

from adapters_registry.errors import AdapterCapacityExceeded
from app.engine.base import ChatJob, EngineOverloaded, Sampling
from app.errors import ApiError
from app.inference.admission import BoundedAdmission
from app.inference.generation import Generation
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, CARD, InferenceRig, answer

JOB = ChatJob([{"role": "user", "content": "Hi"}], Sampling(), "salt")


class CapacityRig(InferenceRig):
    """Inference whose admission a test can fill: 8 run, 8 wait."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = BoundedAdmission([CARD], queue=1, reserve=0)
        self.inference = self.inference_with(self.admission)
        self.engine.script = answer("Hello")

    def fill(self, stack: ExitStack, count: int) -> None:
        for _ in range(count):
            stack.enter_context(self.admission.enter(BASE, "on_demand", 1))

    async def ask(self, model=BASE, tier=None, job=JOB) -> str:
        async with (
            self.inference.open(Generation, self.context, model, tier) as served,
            aclosing(served.generate(await served.prepare(job))) as deltas,
        ):
            return "".join([delta.text async for delta in deltas])

    async def refusal(self, model=BASE, tier=None) -> ApiError:
        with pytest.raises(ApiError) as raised:
            await self.ask(model, tier)
        return raised.value

    def inside(self) -> int:
        return sum(self.admission.stats()[BASE].inside.values())


@pytest.fixture
def rig() -> CapacityRig:
    return CapacityRig()


async def test_what_finds_no_place_is_refused_before_it_is_rendered_or_counted(rig):
    with ExitStack() as stack:
        rig.fill(stack, 16)
        error = await rig.refusal()
    assert (error.status, error.headers["retry-after"]) == (503, "1")
    assert (rig.engine.jobs, rig.limits.budgets) == ([], [])


async def test_flex_is_told_498_where_others_are_let_in_to_wait(rig):
    with ExitStack() as stack:
        rig.fill(stack, 8)
        error = await rig.refusal(tier="flex")
        assert (error.status, error.code, error.type) == (
            498,
            "capacity_exceeded",
            "capacity_exceeded",
        )
        assert await rig.ask() == "Hello"


@pytest.mark.parametrize(("tier", "status"), [("flex", 498), ("on_demand", 503), (None, 503)])
async def test_an_adapter_whose_turn_does_not_come_is_a_matter_of_capacity(rig, tier, status):
    rig.adapters.error = AdapterCapacityExceeded("no turn")
    error = await rig.refusal(ADAPTER_MODEL, tier)
    assert error.status == status
    assert ("retry-after" in error.headers) == (status == 503)
    assert rig.adapters.waits == [0.0 if tier == "flex" else None]
    assert rig.admission.stats()[BASE].refused == {(tier or "on_demand", "adapter"): 1}
    assert rig.inside() == 0


@pytest.mark.parametrize(("tier", "status"), [("flex", 498), ("on_demand", 503)])
async def test_a_full_queue_of_the_engine_itself_is_a_matter_of_capacity(rig, tier, status):
    rig.engine.script = [EngineOverloaded("full")]
    assert (await rig.refusal(tier=tier)).status == status
    assert rig.admission.stats()[BASE].refused == {(tier, "engine"): 1}


async def test_a_place_is_held_while_rendering_and_from_the_queue_to_the_last_token(rig):
    gate = asyncio.Event()
    rig.engine.script = [gate, *answer("Hello")]
    asking = asyncio.create_task(rig.ask())
    await rig.engine.waiting.wait()
    stats = rig.admission.stats()[BASE]
    assert (stats.inside, stats.tokens) == ({"on_demand": 1}, 7)
    gate.set()
    await asking
    assert rig.inside() == 0


async def test_who_goes_away_gives_the_place_back(rig):
    rig.engine.script = [asyncio.Event()]
    asking = asyncio.create_task(rig.ask(ADAPTER_MODEL))
    await rig.engine.waiting.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert (rig.inside(), rig.adapters.held) == (0, 0)


async def test_a_text_too_long_for_the_queue_is_refused_before_it_is_rendered(rig):
    job = ChatJob([{"role": "user", "content": "word " * 500}], Sampling(), "salt")
    almost_all = rig.admission.enter(BASE, "on_demand", 2 * CARD.cache_tokens - 500)
    with almost_all, pytest.raises(ApiError) as raised:
        await rig.ask(job=job)
    assert raised.value.status == 503
    assert rig.engine.jobs == []
    assert rig.admission.stats()[BASE].refused == {("on_demand", "tokens"): 1}
