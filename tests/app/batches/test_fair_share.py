"""Organisations beside each other: nobody waits for the end of what another has asked before."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.batches import steps
from app.batches.objects import input_key
from app.inference.context import RequestContext
from tests.app.batches.farm import Farm, lines, until
from tests.app.batches.processes import FixedCapacity, answer_all
from tests.fixtures.databases import add_organization

MANY, FEW = 3_000, 40


async def claimed(farm: Farm) -> str:
    async with farm.database.sessions.begin() as session:
        found = await steps.claim(session, uuid4().hex, lease_seconds=60)
    assert found is not None
    return found.step.batch_id


@pytest.mark.timeout(120)
async def test_a_small_batch_ends_while_a_huge_one_has_hardly_begun(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    huge = await farm.add(lines(MANY))
    answered = Counter[str]()

    async def briefly(context: RequestContext, body: Mapping[str, Any]) -> bytes:
        await asyncio.sleep(0.005)
        answered[context.caller.org_id] += 1
        return await answer_all(context, body)

    capacity = FixedCapacity(lines=16)
    process = farm.process(act=briefly, capacity=capacity, chunk_lines=64, lease_seconds=3)
    async with farm.working(process):
        await until(lambda: answered[farm.org_id] >= 32)
        small = await farm.add(lines(FEW), org_id=globex)
        await farm.ended(small)
        of_huge = answered[farm.org_id]
    await farm.check(small, lines(FEW))
    assert of_huge < 0.2 * MANY
    assert (await farm.row(huge)).status == "in_progress"


async def test_the_steps_of_one_organisation_do_not_keep_back_those_of_another(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    theirs = [await farm.add(lines(1)) for _ in range(4)]
    ours = await farm.add(lines(1), org_id=globex)
    assert [await claimed(farm) for _ in range(3)] == [theirs[0], ours, theirs[1]]


async def test_a_step_that_was_given_back_goes_behind_those_that_were_not_tried(
    farm: Farm,
) -> None:
    troubled = [await farm.add(lines(1)) for _ in range(2)]
    untried = await farm.add(lines(1))
    for batch_id in troubled:
        async with farm.database.sessions.begin() as session:
            found = await steps.claim(session, uuid4().hex, lease_seconds=60)
            assert found is not None
            assert found.step.batch_id == batch_id
            await steps.release(session, found.step)
    assert await claimed(farm) == untried


async def test_a_chunk_that_is_to_run_alone_and_cannot_be_read_lets_others_go_on(
    farm: Farm, tmp_path: Path
) -> None:
    unreadable, other = await farm.add(lines(3)), await farm.add(lines(3))
    await farm.planned(unreadable)
    await farm.change_chunks(unreadable, attempts=2)
    (tmp_path / "nothing").touch()
    await farm.store.put(input_key(unreadable), tmp_path / "nothing")
    await farm.work_off(other)
    await farm.check(other, lines(3))
    [chunk] = await farm.chunks(unreadable)
    assert (chunk.state, chunk.attempts) == ("running", 2)
