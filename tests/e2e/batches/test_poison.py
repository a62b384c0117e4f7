"""A line that kills every worker that asks it ends up in the error file, and the rest completes."""

import asyncio

import pytest

from tests.e2e.batches.scene import Scene, chat_lines
from tests.fixtures.databases import Dialect

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

MOST_DEATHS = 4
"""Two attempts beside others, two alone."""


async def test_a_line_that_kills_its_workers_is_given_up(scene: Scene, dialect: Dialect) -> None:
    lines = chat_lines(100)
    deadly = lines[57]["custom_id"]
    batch_id = await scene.farm.add(lines)
    deaths = 0

    async def keep_one() -> None:
        nonlocal deaths
        while True:
            async with scene.working({"deadly": deadly}) as (worker,):
                await worker.ended()
                deaths += 1

    keepers = [asyncio.create_task(keep_one()) for _ in range(2 if dialect == "postgresql" else 1)]
    try:
        await scene.ended(batch_id)
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.wait(keepers)

    print(f"{deaths} deaths on {dialect}; {scene.times_asked()[deadly]} times asked")
    row = await scene.farm.row(batch_id)
    assert (row.status, row.completed, row.failed) == ("completed", 99, 1)
    await scene.require_whole(batch_id, lines)
    (given_up,) = (await scene.farm.results(batch_id))[1]
    assert given_up["custom_id"] == deadly
    assert given_up["response"] is None
    assert given_up["error"]["code"] == "processing_failed"
    assert deaths == scene.times_asked()[deadly] <= MOST_DEATHS
