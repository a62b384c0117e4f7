"""Batch lines as requests: what they wait for instead of being refused, and how they give way."""

import asyncio
from contextlib import ExitStack, aclosing
from dataclasses import replace

import pytest

from adapters_registry.errors import AdapterCapacityExceeded, AdapterLoadFailed
from adapters_registry.testing import until
from adapters_registry.types import AdapterVersion, Digest
from app.engine.base import ChatJob, EngineDead, Sampling
from app.errors import ApiError
from app.inference.admission import BoundedAdmission
from app.inference.generation import Generation
from app.inference.serving import GIVE_WAY_SECONDS
from app.inference.spare import Displaced
from app.inference.tiers import PRIORITIES
from tests.app.inference.lines import Host
from tests.app.inference.stubs import ADAPTER_MODEL, BASE, InferenceRig, answer

JOB = ChatJob([{"role": "user", "content": "hi"}], Sampling(max_tokens=50), "salt")
RUNNING, SPARE = 8, 7


class LineRig(InferenceRig):
    """Asks as batches do; 8 run, one of them reserved."""

    def __init__(self, slots: int = 2) -> None:
        super().__init__()
        hosts = {BASE: Host(slots)}
        self.admission = BoundedAdmission([self.engine.card], queue=4, hosts=hosts)
        self.inference = self.inference_with(self.admission)
        self.context = replace(self.context, is_batch=True)
        self.engine.script = answer("Hello")

    async def ask(self, model: str = BASE, **options) -> str:
        async with (
            self.inference.open(Generation, self.context, model, **options) as served,
            aclosing(served.generate(await served.prepare(JOB))) as deltas,
        ):
            text = "".join([delta.text async for delta in deltas])
            return f"{served.tier}: {text}"

    def fill(self, stack: ExitStack, count: int, tier: str = "on_demand") -> None:
        for _ in range(count):
            stack.enter_context(self.admission.enter(BASE, tier, 1))

    def counts(self) -> tuple[int, int]:
        stats = self.admission.stats()[BASE]
        return stats.inside.get("batch", 0), stats.lines_waiting


@pytest.fixture
def rig() -> LineRig:
    return LineRig()


@pytest.mark.parametrize("tier", [None, "auto", "performance"])
async def test_a_line_is_served_at_the_batch_tier_whatever_is_asked(rig, tier):
    assert await rig.ask(tier=tier) == "batch: Hello"
    assert rig.engine.runs[0].priority == PRIORITIES["batch"]
    assert [budget.tier for budget in rig.limits.budgets] == ["batch"]


async def test_a_line_is_rendered_and_waits_where_others_are_refused(rig):
    with ExitStack() as stack:
        rig.fill(stack, 5 * RUNNING)
        asking = asyncio.create_task(rig.ask())
        await until(lambda: rig.counts() == (0, 1))
        assert len(rig.engine.jobs) == 1
        assert rig.engine.runs == []
    assert await asking == "batch: Hello"
    assert rig.counts() == (0, 0)


async def test_how_long_a_line_waits_for_its_first_token_is_not_told(rig):
    await rig.ask()
    assert rig.observer.first_tokens == []
    assert len(rig.observer.usages) == 1


async def test_a_line_that_is_cancelled_while_it_waits_leaves_nothing(rig):
    with ExitStack() as stack:
        rig.fill(stack, RUNNING)
        asking = asyncio.create_task(rig.ask())
        await until(lambda: rig.counts() == (0, 1))
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert rig.counts() == (0, 0)


async def test_a_line_takes_its_adapter_without_waiting_and_comes_again_for_it(rig):
    rig.adapters.error = AdapterCapacityExceeded("no turn")
    asking = asyncio.create_task(rig.ask(ADAPTER_MODEL))
    await until(lambda: rig.adapters.waits)
    assert rig.counts() == (0, 1)
    rig.adapters.error = None
    assert await asking == "batch: Hello"
    assert set(rig.adapters.waits) == {0.0}
    assert (rig.adapters.held, rig.counts()) == (0, (0, 0))


async def test_other_errors_of_an_adapter_are_the_lines_own(rig):
    rig.adapters.error = AdapterLoadFailed("d")
    with pytest.raises(ApiError) as raised:
        await rig.ask(ADAPTER_MODEL)
    assert raised.value.headers == {"x-should-retry": "false"}
    assert rig.counts() == (0, 0)


async def running(rig: LineRig, count: int, model: str = BASE) -> list[asyncio.Task[str]]:
    rig.engine.script = [asyncio.Event()]
    tasks = [asyncio.create_task(rig.ask(model)) for _ in range(count)]
    await until(lambda: rig.engine.running == count)
    return tasks


async def test_a_line_that_gives_way_is_aborted_at_once_and_has_used_nothing(rig):
    tasks = await running(rig, SPARE)
    with ExitStack() as stack:
        rig.fill(stack, 2)
        (done, _) = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(tasks[-1].exception(), Displaced)
        assert done == {tasks[-1]}
        assert rig.engine.running == SPARE - 1
    assert [budget.settled for budget in rig.limits.budgets if budget.settled] == [[0]]
    await gone(tasks)


async def test_what_a_displaced_line_is_told_is_to_come_again(rig):
    (task,) = await running(rig, 1)
    with rig.admission.enter(BASE, "on_demand", rig.engine.card.cache_tokens):
        await asyncio.wait([task])
    error = task.exception()
    assert isinstance(error, ApiError)
    assert (error.status, error.headers) == (503, {"retry-after": "1"})
    assert task.cancelling() == 0


async def test_a_line_whose_task_is_cancelled_as_well_is_cancelled(rig):
    (task,) = await running(rig, 1)
    with rig.admission.enter(BASE, "on_demand", rig.engine.card.cache_tokens):
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_a_line_whose_answer_is_awaited_elsewhere_gives_way_too(rig):
    """Its places are held by other tasks than the one that asked."""
    rig.engine.script = [asyncio.Event()]

    async def run(served: Generation) -> None:
        async with aclosing(served.generate(await served.prepare(JOB))) as deltas:
            async for _ in deltas:
                pass

    async def ask() -> None:
        async with (
            rig.inference.open(Generation, rig.context, BASE) as served,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(3):
                group.create_task(run(served))

    asking = asyncio.create_task(ask())
    await until(lambda: rig.engine.running == 3)
    with rig.admission.enter(BASE, "on_demand", rig.engine.card.cache_tokens):
        await asyncio.wait([asking])
    assert isinstance(asking.exception(), Displaced)
    assert (rig.engine.running, rig.counts()) == (0, (0, 0))


async def test_an_engine_that_dies_is_told_as_in_any_request(rig):
    rig.engine.script = [EngineDead()]
    with pytest.raises(ApiError) as raised:
        await rig.ask()
    assert not isinstance(raised.value, Displaced)
    assert raised.value.status == 503
    assert rig.counts() == (0, 0)


async def test_flex_waits_for_a_turn_only_where_lines_are_giving_one_up():
    rig = LineRig(slots=1)
    others = replace(rig.context, is_batch=False)

    async def ask_flex() -> None:
        opening = rig.inference.open(Generation, others, ADAPTER_MODEL, "flex")
        async with opening as served, served.running(1):
            return

    tasks = await running(rig, 2, ADAPTER_MODEL)
    await ask_flex()
    rig.resolver.version = AdapterVersion(Digest("cd" * 32), BASE)
    await ask_flex()
    assert rig.adapters.waits == [0.0, 0.0, 0.0, GIVE_WAY_SECONDS]
    await asyncio.wait(tasks)
    assert all(isinstance(task.exception(), Displaced) for task in tasks)


async def gone(tasks: list[asyncio.Task[str]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
