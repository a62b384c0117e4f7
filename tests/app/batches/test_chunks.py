"""Which chunk a process takes, and that only the holder of its lease writes."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.batches import chunks
from app.batches.chunks import HeldChunk, Opening, Progress
from tests.app.batches.farm import Farm, lines
from tests.fixtures.databases import add_organization

ANY = Opening("base")


async def planned(farm: Farm, count: int = 9, **options: Any) -> str:
    """Make a batch whose lines wait, in chunks of three."""
    batch_id = await farm.add(lines(count), **options)
    await farm.planned(batch_id)
    return batch_id


async def claim(
    farm: Farm, opening: Opening = ANY, served: dict[str, int] | None = None
) -> HeldChunk | None:
    async with farm.database.sessions.begin() as session:
        return await chunks.claim(session, opening, uuid4().hex, served or {}, lease_seconds=60)


async def write(farm: Farm, held: HeldChunk, progress: Progress, **options: Any) -> bool:
    async with farm.database.sessions.begin() as session:
        return await chunks.write(session, held, progress, **{"attempts": 1, **options})


def places(*held: HeldChunk | None) -> list[tuple[str, int] | None]:
    return [None if each is None else (each.batch_id, each.number) for each in held]


async def test_chunks_are_taken_in_order_and_each_by_one(farm: Farm) -> None:
    first, second = await planned(farm, 6), await planned(farm, 3)
    held = [await claim(farm) for _ in range(4)]
    assert places(*held) == [(first, 0), (first, 1), (second, 0), None]


async def test_processes_that_claim_at_once_take_different_chunks(farm: Farm) -> None:
    batch_id = await planned(farm, 24)
    held = await asyncio.gather(*(claim(farm) for _ in range(8)))
    assert sorted(places(*held), key=str) == [(batch_id, number) for number in range(8)]


async def test_what_is_held_says_where_its_lines_lie_and_who_asks(farm: Farm) -> None:
    batch_id = await planned(farm, 4)
    await claim(farm)
    held = await claim(farm)
    [before, row] = await farm.chunks(batch_id)
    assert held is not None
    assert (held.org_id, held.plan, held.model, held.adapter) == (farm.org_id, None, "base", "")
    assert (held.start, held.length, held.lines) == (before.length, row.length, 1)
    assert (held.attempts, held.is_careful, held.progress) == (1, False, Progress())


async def test_the_organisation_with_the_fewest_chunks_under_way_comes_first(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    acmes = await planned(farm)
    globexs = await planned(farm, org_id=globex)
    held = [await claim(farm) for _ in range(4)]
    assert places(*held) == [(acmes, 0), (globexs, 0), (acmes, 1), (globexs, 1)]


async def test_among_equals_the_one_comes_first_that_was_served_longer_ago(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    await planned(farm)
    globexs = await planned(farm, org_id=globex)
    held = await claim(farm, served={farm.org_id: 2, globex: 1})
    assert places(held) == [(globexs, 0)]


async def test_another_models_chunks_are_left_to_others(farm: Farm) -> None:
    await planned(farm)
    assert await claim(farm, Opening("another")) is None


async def test_organisations_that_are_not_wanted_are_passed_over(farm: Farm) -> None:
    globex = await add_organization(farm.database, "globex")
    await planned(farm)
    globexs = await planned(farm, org_id=globex)
    held = await claim(farm, Opening("base", not_of={farm.org_id}))
    assert places(held) == [(globexs, 0)]


async def test_while_adapters_are_full_only_chunks_of_those_fit_and_of_the_base(
    farm: Farm,
) -> None:
    batch_id = await planned(farm)
    await farm.change_chunks(batch_id, adapter="ft:other")
    assert await claim(farm, Opening("base", {"ft:mine"})) is None
    assert await claim(farm, Opening("base", {"ft:mine", "ft:other"})) is not None
    await farm.change_chunks(batch_id, adapter="")
    assert await claim(farm, Opening("base", {"ft:mine"})) is not None


async def test_nobody_goes_before_an_organisation_whose_adapter_does_not_fit_yet(
    farm: Farm,
) -> None:
    globex = await add_organization(farm.database, "globex")
    acmes = await planned(farm)
    await farm.change_chunks(acmes, adapter="ft:mine")
    globexs = await planned(farm, org_id=globex)
    await farm.change_chunks(globexs, adapter="ft:other")
    assert places(await claim(farm)) == [(acmes, 0)]
    assert await claim(farm, Opening("base", {"ft:mine"})) is None
    assert places(await claim(farm)) == [(globexs, 0)]


@pytest.mark.parametrize(
    "row",
    [
        {"status": "cancelling"},
        {"status": "finalizing"},
        {"status": "completed"},
        {"expires_at": 1},
    ],
)
async def test_chunks_of_batches_that_end_are_not_taken(farm: Farm, row: dict[str, Any]) -> None:
    batch_id = await planned(farm)
    await farm.change(batch_id, **row)
    assert await claim(farm) is None


async def test_a_chunk_is_taken_over_when_its_lease_is_over_and_after_all_others(
    farm: Farm,
) -> None:
    batch_id = await planned(farm, 6)
    first = await claim(farm)
    await farm.end_leases()
    second, again = await claim(farm), await claim(farm)
    assert places(first, second, again) == [(batch_id, 0), (batch_id, 1), (batch_id, 0)]
    assert again is not None
    assert again.attempts == 2
    assert await claim(farm) is None


async def test_what_was_stored_is_handed_on(farm: Farm) -> None:
    await planned(farm, 3)
    held = await claim(farm)
    assert held is not None
    progress = Progress(("a", "b"), 1, 1)
    assert await write(farm, held, progress)
    await farm.end_leases()
    again = await claim(farm)
    assert again is not None
    assert again.progress == progress


async def test_only_the_holder_writes(farm: Farm) -> None:
    batch_id = await planned(farm, 3)
    late = await claim(farm)
    await farm.end_leases()
    held = await claim(farm)
    assert late is not None
    assert held is not None
    assert not await write(farm, late, Progress(("late",), 3, 0), state="done")
    assert await write(farm, held, Progress(("mine",), 3, 0), state="done")
    [row] = await farm.chunks(batch_id)
    assert (row.state, row.parts, row.token) == ("done", '["mine"]', None)
    assert not await write(farm, held, Progress(("again",), 3, 0), state="done")


async def test_a_lease_that_is_over_holds_until_another_takes_it(farm: Farm) -> None:
    await planned(farm, 3)
    held = await claim(farm)
    assert held is not None
    await farm.end_leases()
    assert await write(farm, held, Progress(("mine",), 1, 0))


async def test_nothing_is_added_to_a_chunk_that_was_dropped(farm: Farm) -> None:
    batch_id = await planned(farm, 3)
    held = await claim(farm)
    assert held is not None
    await farm.change_chunks(batch_id, state="dropped")
    assert not await write(farm, held, Progress(("late",), 1, 0))


async def test_the_third_attempt_is_careful_and_counts_as_it_begins(farm: Farm) -> None:
    batch_id = await planned(farm, 3)
    for attempts in (1, 2):
        held = await claim(farm)
        assert held is not None
        assert (held.attempts, held.is_careful) == (attempts, False)
        await farm.end_leases()
    held = await claim(farm)
    assert held is not None
    assert (held.attempts, held.is_careful) == (2, True)
    for _ in range(2):  # once more, as after an answer that was lost
        async with farm.database.sessions.begin() as session:
            assert await chunks.begin(session, held)
    assert [chunk.attempts for chunk in await farm.chunks(batch_id)] == [3]
