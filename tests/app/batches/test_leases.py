"""Leases are kept by the database's clock, and what was lost is told."""

from app.batches import leases
from app.batches.leases import Holdings, Kept
from tests.app.batches.farm import Farm, lines


async def renew(farm: Farm, holdings: Holdings) -> Kept:
    async with farm.database.sessions.begin() as session:
        return await leases.renew(session, holdings, lease_seconds=60)


async def held_batch(farm: Farm) -> str:
    """Make a batch with a chunk that `t` holds, and whose lease is over."""
    batch_id = await farm.add(lines(3))
    await farm.planned(batch_id)
    await farm.change_chunks(batch_id, state="running", token="t", leased_until=1)
    return batch_id


async def test_a_lease_is_kept_even_when_it_was_over(farm: Farm) -> None:
    batch_id = await held_batch(farm)
    assert await renew(farm, Holdings(["t"], [], [batch_id])) == Kept({"t"}, set(), set())
    [chunk] = await farm.chunks(batch_id)
    assert chunk.leased_until > (await farm.row(batch_id)).created_at + 30


async def test_what_another_holds_is_lost_and_stays_as_it_is(farm: Farm) -> None:
    batch_id = await held_batch(farm)
    kept = await renew(farm, Holdings(["mine"], ["mine"], [batch_id]))
    assert (kept.chunks, kept.steps) == (set(), set())
    assert [chunk.leased_until for chunk in await farm.chunks(batch_id)] == [1]


async def test_batches_whose_lines_need_no_answer_are_told(farm: Farm) -> None:
    running, cancelled, expired = [await held_batch(farm) for _ in range(3)]
    await farm.change(cancelled, status="cancelling")
    await farm.change(expired, expires_at=1)
    kept = await renew(farm, Holdings(["t"], [], [running, cancelled, expired]))
    assert kept.ended == {cancelled, expired}


async def test_a_step_is_kept(farm: Farm) -> None:
    batch_id = await farm.add(lines(1), token="t", leased_until=1)
    assert (await renew(farm, Holdings([], ["t", "u"], []))).steps == {"t"}
    assert (await farm.row(batch_id)).leased_until > 1


async def test_holding_nothing_asks_nothing(farm: Farm) -> None:
    assert await renew(farm, Holdings([], [], [])) == Kept(set(), set(), set())


async def test_a_process_that_is_alone_goes_on_where_a_dead_one_stopped(farm: Farm) -> None:
    batch_id = await held_batch(farm)
    await farm.change(batch_id, token="dead", leased_until=1 << 40)
    await farm.change_chunks(batch_id, leased_until=1 << 40)
    async with farm.database.sessions.begin() as session:
        await leases.end_all(session)
    await farm.work_off(batch_id)
    assert (await farm.row(batch_id)).status == "completed"
