"""Which step a process takes, and that only the holder of its lease ends it."""

import json
from typing import Any, Literal
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.batches import steps
from app.batches.steps import ClaimedStep, Outcome, ResultFile
from app.batches.types import BatchError, ChunkSpec, Step
from app.db.tables import FileRow
from tests.app.batches.farm import Farm, lines

CHUNKS = [ChunkSpec("base", "", 0, 10, 3), ChunkSpec("base", "ft:a", 10, 20, 2)]


async def claim(farm: Farm) -> ClaimedStep | None:
    async with farm.database.sessions.begin() as session:
        return await steps.claim(session, uuid4().hex, lease_seconds=60)


async def step_of(farm: Farm) -> Step:
    claimed = await claim(farm)
    assert claimed is not None
    return claimed.step


async def plan(farm: Farm, step: Step) -> bool:
    async with farm.database.sessions.begin() as session:
        return await steps.planned(session, step, CHUNKS)


async def finish(
    farm: Farm, step: Step, status: Literal["completed", "expired", "cancelled"] = "completed"
) -> bool:
    async with farm.database.sessions.begin() as session:
        found = await steps.finalising(session, step)
        if found is None or found.output_file_id is None:
            return False
        output = ResultFile(found.output_file_id, 7, "ab" * 32)
        return await steps.finished(session, step, Outcome(status, 5, 0, output, None))


async def running(farm: Farm, **chunks: Any) -> str:
    """Make a batch whose two chunks are like that."""
    batch_id = await farm.add(lines(5))
    await plan(farm, await step_of(farm))
    await farm.change_chunks(batch_id, **chunks)
    return batch_id


async def test_a_new_batch_is_validated_by_one_the_oldest_first(farm: Farm) -> None:
    first, second = await farm.add(lines(1)), await farm.add(lines(1))
    claimed = [await claim(farm) for _ in range(3)]
    assert [each and each.step.batch_id for each in claimed] == [first, second, None]
    assert claimed[0] is not None
    assert (claimed[0].status, claimed[0].attempts) == ("validating", 1)


async def test_a_step_is_taken_over_when_its_lease_is_over(farm: Farm) -> None:
    await farm.add(lines(1))
    late = await step_of(farm)
    await farm.end_leases()
    claimed = await claim(farm)
    assert claimed is not None
    assert claimed.attempts == 2
    assert not await plan(farm, late)
    assert await plan(farm, claimed.step)
    assert not await plan(farm, claimed.step)


async def test_a_step_that_is_given_back_did_not_count(farm: Farm) -> None:
    await farm.add(lines(1))
    async with farm.database.sessions.begin() as session:
        claimed = await steps.claim(session, "t", lease_seconds=60)
        assert claimed is not None
        await steps.release(session, claimed.step)
    claimed = await claim(farm)
    assert claimed is not None
    assert claimed.attempts == 1


async def test_a_planned_batch_is_in_progress_with_its_chunks(farm: Farm) -> None:
    batch_id = await running(farm)
    row = await farm.row(batch_id)
    assert (row.status, row.total, row.token, row.attempts) == ("in_progress", 5, None, 0)
    assert row.in_progress_at is not None
    chunks = await farm.chunks(batch_id)
    assert [ChunkSpec(c.model, c.adapter, c.start, c.length, c.lines) for c in chunks] == CHUNKS
    assert {(c.org_id, c.state, c.attempts) for c in chunks} == {(farm.org_id, "queued", 0)}


async def test_a_batch_that_was_cancelled_meanwhile_is_not_planned(farm: Farm) -> None:
    batch_id = await farm.add(lines(5))
    step = await step_of(farm)
    await farm.change(batch_id, status="cancelling")
    assert not await plan(farm, step)
    assert await farm.chunks(batch_id) == []


async def test_a_refused_batch_has_failed_with_its_errors(farm: Farm) -> None:
    batch_id = await farm.add(lines(5))
    step = await step_of(farm)
    for is_ours in (True, False):
        async with farm.database.sessions.begin() as session:
            errors = [BatchError("invalid_url", "no such url", "url", 3)]
            assert await steps.refused(session, step, errors) is is_ours
    row = await farm.row(batch_id)
    assert (row.status, row.token, row.failed_at is None) == ("failed", None, False)
    told = {"code": "invalid_url", "message": "no such url", "param": "url", "line": 3}
    assert json.loads(row.errors or "") == [told]


@pytest.mark.parametrize(
    ("batch", "chunks", "is_due"),
    [
        ({}, {"state": "queued"}, False),
        ({}, {"state": "running", "leased_until": 1 << 40}, False),
        ({}, {"state": "done"}, True),
        ({"expires_at": 1}, {"state": "queued"}, True),
        ({"expires_at": 1}, {"state": "running", "leased_until": 1 << 40}, False),
        ({"expires_at": 1}, {"state": "running", "leased_until": 1}, True),
        ({"status": "cancelling"}, {"state": "queued"}, True),
        ({"status": "cancelling"}, {"state": "running", "leased_until": 1 << 40}, False),
        ({"status": "cancelling"}, {"state": "running", "leased_until": 1}, True),
        ({"status": "finalizing"}, {"state": "dropped"}, True),
        ({"status": "finalizing", "leased_until": 1 << 40}, {"state": "dropped"}, False),
        ({"status": "completed"}, {"state": "done"}, False),
        ({"status": "failed"}, {"state": "queued"}, False),
    ],
)
async def test_a_batch_is_finalised_when_nothing_more_will_come(
    farm: Farm, batch: dict[str, Any], chunks: dict[str, Any], is_due: bool
) -> None:
    batch_id = await running(farm, **chunks)
    await farm.change(batch_id, **batch)
    claimed = await claim(farm)
    assert (claimed is not None) is is_due
    if claimed is not None:
        status = (await farm.row(batch_id)).status
        assert status == claimed.status
        assert status == ("cancelling" if batch.get("status") == "cancelling" else "finalizing")


async def test_finalising_closes_the_chunks_that_are_not_done(farm: Farm) -> None:
    batch_id = await running(farm, state="running", leased_until=1)
    await farm.change(batch_id, expires_at=1)
    assert await claim(farm) is not None
    assert {chunk.state for chunk in await farm.chunks(batch_id)} == {"dropped"}


async def test_whoever_finalises_again_writes_the_same_files(farm: Farm) -> None:
    batch_id = await running(farm, state="done")
    await claim(farm)
    before = await farm.row(batch_id)
    await farm.end_leases()
    await claim(farm)
    after = await farm.row(batch_id)
    assert None not in (before.output_file_id, before.error_file_id, before.finalizing_at)
    ids = (before.output_file_id, before.error_file_id)
    assert (after.output_file_id, after.error_file_id) == ids


async def test_a_finished_batch_has_its_files_and_no_chunks(farm: Farm) -> None:
    batch_id = await running(farm, state="done")
    late = await step_of(farm)
    await farm.end_leases()
    step = await step_of(farm)
    assert not await finish(farm, late)
    assert await finish(farm, step)
    assert not await finish(farm, step)
    row = await farm.row(batch_id)
    assert (row.status, row.completed, row.failed, row.token) == ("completed", 5, 0, None)
    assert (row.error_file_id, row.completed_at is None) == (None, False)
    assert await farm.chunks(batch_id) == []
    async with farm.database.sessions() as session:
        mine = select(FileRow).where(FileRow.purpose == "batch_output")
        file = (await session.scalars(mine)).one()
    assert (file.id, file.org_id, file.bytes) == (row.output_file_id, farm.org_id, 7)
    assert file.filename == f"{batch_id}_output.jsonl"


async def test_an_end_that_does_not_fit_the_batch_is_refused(farm: Farm) -> None:
    batch_id = await running(farm, state="done")
    step = await step_of(farm)
    assert not await finish(farm, step, "cancelled")
    assert (await farm.row(batch_id)).status == "finalizing"
