"""Lines that end what they run in: the process, or the engine."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from app.batches import liveness
from app.engine.base import EngineDead
from app.errors import unavailable
from app.inference.context import RequestContext
from tests.app.batches.farm import Farm, line, lines, until, until_any
from tests.app.batches.processes import Died, Process, answer_all

ASKED = [*lines(4), line("poison"), *lines(9)[4:]]


def is_poison(body: Mapping[str, Any]) -> bool:
    return str(body["messages"][0]["content"]).startswith("poison")


async def kill_at_poison(
    process: Process, context: RequestContext, body: Mapping[str, Any]
) -> bytes:
    if is_poison(body):
        process.fate.die()
        raise Died
    return await answer_all(context, body)


async def work_and_die(farm: Farm, batch_id: str, **options: Any) -> list[Process]:
    """Have a new process go on whenever one was killed by a line, until the batch has ended."""
    processes = []
    for _ in range(40):
        process = farm.process(**options)
        process.act = partial(kill_at_poison, process)
        processes.append(process)
        async with farm.working(process):
            await until_any(farm.ended(batch_id), process.fate.died.wait())
        if not process.fate.died.is_set():
            return processes
        await farm.end_leases()
    raise AssertionError("the line was never given up")


async def test_a_line_that_kills_its_process_is_given_up_and_the_others_are_answered(
    farm: Farm,
) -> None:
    batch_id = await farm.add(ASKED)
    processes = await work_and_die(farm, batch_id)
    await farm.check(batch_id, ASKED)
    output, [error] = await farm.results(batch_id)
    assert (error["custom_id"], error["error"]["code"]) == ("poison", "processing_failed")
    assert error["response"] is None
    assert (await farm.row(batch_id)).status == "completed"
    assert len(output) == 9
    assert 4 <= len(processes) - 1 <= 5


async def test_several_lines_that_kill_are_each_given_up(farm: Farm) -> None:
    asked = [line("poison-1"), *lines(4), line("poison-2"), line("poison-3")]
    batch_id = await farm.add(asked)
    await work_and_die(farm, batch_id, chunk_lines=10)
    await farm.check(batch_id, asked)
    _, errors = await farm.results(batch_id)
    assert [error["custom_id"] for error in errors] == ["poison-1", "poison-2", "poison-3"]


async def test_after_two_deaths_a_chunk_runs_alone_one_line_after_another(farm: Farm) -> None:
    asked = lines(12)
    batch_id = await farm.add(asked)
    await farm.planned(batch_id)
    await farm.change_chunks(batch_id, attempts=2)
    process = farm.process()
    alone: list[int] = []

    async def note(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        await asyncio.sleep(0)
        alone.append(process.running)
        return await answer_all(context, body)

    process.act = note
    async with farm.working(process):
        await farm.ended(batch_id)
    assert alone == [1] * 12
    await farm.check(batch_id, asked)


async def test_a_chunk_that_is_to_run_alone_does_not_count_before_it_does(farm: Farm) -> None:
    busy, careful = await farm.add(lines(3)), await farm.add(lines(3))
    await farm.planned(careful)
    await farm.change_chunks(careful, attempts=2)
    await farm.change(careful, status="finalizing", leased_until=1 << 40)
    is_free = asyncio.Event()

    async def hold(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        await is_free.wait()
        return await answer_all(context, body)

    async def is_taken() -> bool:
        return (await farm.chunks(careful))[0].state == "running"

    process = farm.process(act=hold)
    async with farm.working(process):
        await until(lambda: process.running == 3)
        await farm.change(careful, status="in_progress", leased_until=0)
        await until(is_taken)
        assert process.running == 3
        await process.kill()
    [chunk] = await farm.chunks(careful)
    assert (chunk.state, chunk.attempts) == ("running", 2)
    await farm.end_leases()
    async with farm.working(farm.process()):
        await farm.ended(busy, careful)


async def test_a_line_that_kills_the_engine_is_given_up(farm: Farm, monkeypatch: Any) -> None:
    monkeypatch.setattr(liveness, "TRUSTED_SECONDS", 0.01)
    batch_id = await farm.add(ASKED)
    process = farm.process()
    deaths = 0

    async def kill(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        nonlocal deaths
        if is_poison(body):
            deaths += 1
            raise unavailable() from EngineDead()
        return await answer_all(context, body)

    process.act = kill
    async with farm.working(process):
        await farm.ended(batch_id)
    await farm.check(batch_id, ASKED)
    _, [error] = await farm.results(batch_id)
    assert (error["custom_id"], error["error"]["code"]) == ("poison", "processing_failed")
    assert deaths == 4


async def test_an_engine_that_stays_dead_blames_no_line(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    process = farm.process()

    async def dead(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        raise unavailable() from EngineDead()

    process.act = dead
    async with farm.working(process):
        await until(lambda: process.observed.chunks)
        await asyncio.sleep(0.1)  # time for more, if there were any
        [chunk] = await farm.chunks(batch_id)
        assert (chunk.state, chunk.attempts, chunk.failed) == ("queued", 1, 0)
        assert len(process.asked) <= 3
