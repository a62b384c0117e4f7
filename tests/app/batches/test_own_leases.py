"""A process does not take from itself what it still works on, however late its heartbeat is."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from app.batches import steps
from app.inference.context import RequestContext
from tests.app.batches.farm import Farm, lines, until
from tests.app.batches.processes import answer_all

POINTS = 80
"""Calls of a process that looks for work, and each time may take what it must not."""


async def test_a_chunk_whose_lease_is_over_is_not_taken_by_its_own_process(farm: Farm) -> None:
    asked, may_answer = asyncio.Semaphore(0), asyncio.Event()

    async def late(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        asked.release()
        await may_answer.wait()
        return await answer_all(context, body)

    batch_id = await farm.add(lines(3))
    process = farm.process(act=late)
    async with farm.working(process):
        for _ in range(3):
            await asked.acquire()
        await farm.end_leases()  # as when the database was away for longer than a lease
        before = process.fate.points

        async def has_looked() -> bool:
            return process.fate.points >= before + POINTS

        await until(has_looked)
        may_answer.set()
        await farm.ended(batch_id)

    await farm.check(batch_id, lines(3))
    assert len(process.asked) == 3
    assert process.observed.lost == 0


async def test_a_step_whose_lease_is_over_is_not_taken_by_its_own_process(farm: Farm) -> None:
    batch_id = await farm.add(lines(3))
    token = uuid4().hex
    async with farm.database.sessions.begin() as session:
        claimed = await steps.claim(session, token, lease_seconds=60)
        assert claimed is not None
    await farm.end_leases()

    async with farm.database.sessions.begin() as session:
        assert await steps.claim(session, uuid4().hex, lease_seconds=60, held={token}) is None
    async with farm.database.sessions.begin() as session:
        taken = await steps.claim(session, uuid4().hex, lease_seconds=60, held={"another"})
    assert taken is not None
    assert taken.step.batch_id == batch_id
