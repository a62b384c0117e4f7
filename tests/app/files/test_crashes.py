"""Killed or cancelled anywhere between store and database, nothing is lost and nothing stays."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.app.files.crashes import Killed, survives
from tests.app.files.world import KEEP_SECONDS, World
from tests.app.idempotency.faults import cancel_at

OLD = KEEP_SECONDS + 60
Deed = Callable[[], Awaitable[object]]
Operation = Callable[[World], Awaitable[Deed]]


async def create(world: World) -> Deed:
    return world.file


async def delete(world: World) -> Deed:
    file_id = await world.file()
    return lambda: world.delete(file_id)


async def retain(world: World) -> Deed:
    for _ in range(2):
        await world.file(age=OLD)
    batch_id = await world.batch(await world.file(age=OLD))
    assert batch_id is not None
    await world.end(batch_id, "failed", age=OLD)
    return world.retention().run_round


async def complete(world: World) -> Deed:
    batch_id = await world.batch(await world.file())
    assert batch_id is not None
    await world.work_on(batch_id)

    async def deed() -> None:
        await world.complete(batch_id, await world.begin_end(batch_id))

    return deed


async def sweep(world: World) -> Deed:
    file_id = await world.file(age=OLD)
    with pytest.raises(Killed):
        await _killed_before_the_bytes_go(world, file_id)
    batch_id = await world.batch(await world.file())
    assert batch_id is not None
    await world.work_on(batch_id)
    await world.end(batch_id)
    return world.sweep_twice


async def _killed_before_the_bytes_go(world: World, file_id: str) -> None:
    def step(*_: object) -> None:
        raise Killed

    world.store.step = step
    try:
        await world.delete(file_id)
    finally:
        world.store.step = lambda *_: None


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "delete": delete,
    "retention": retain,
    "end of a batch": complete,
    "sweep": sweep,
}


async def check(world: World) -> None:
    """Nothing that somebody may ask for is missing."""
    assert await world.files() <= await world.stored_files()
    for batch in await world.unfinished():
        assert batch.input_file_id in await world.files()


async def check_nothing_is_left(world: World) -> None:
    """After two sweeps there is in the store what rows need, and nothing else."""
    begun = [batch for batch in await world.unfinished() if batch.output_file_id is not None]
    awaited = {batch.output_file_id for batch in begun} & await world.stored_files()
    worked_on = {batch.id for batch in await world.unfinished()} & await world.stored_batches()

    await world.sweep_twice()

    assert await world.stored_files() == await world.files() | awaited
    assert await world.stored_batches() == worked_on


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_process_that_is_killed_at_any_step_leaves_nothing_for_ever(
    world: World, name: str
) -> None:
    for step in itertools.count(1):
        deed = await OPERATIONS[name](world)
        is_through = await survives(step, world.database, world.store, deed)
        await check(world)
        await check_nothing_is_left(world)
        await check(world)
        if is_through:
            break
    assert step > 3


# A directory store's read that is cancelled as it opens leaves the closing to the collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_task_that_is_cancelled_at_any_await_leaves_nothing_for_ever(
    world: World, name: str
) -> None:
    async def run(deed: Deed) -> None:
        await deed()

    is_cancelled, step = True, 0
    while is_cancelled:
        step += 1
        deed = await OPERATIONS[name](world)
        is_cancelled = await cancel_at(step, run(deed))
        await check(world)
        await check_nothing_is_left(world)
        await check(world)
    assert step > 3


async def test_results_that_wait_for_their_row_outlive_every_sweep(world: World) -> None:
    batch_id = await world.batch(await world.file())
    assert batch_id is not None
    output = await world.begin_end(batch_id)

    await asyncio.gather(*(world.sweep_twice(later=1e8) for _ in range(3)))
    await world.complete(batch_id, output)

    assert output in await world.files()
    await check(world)
    await world.delete(output)
    await check_nothing_is_left(world)
