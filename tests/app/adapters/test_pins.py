"""Pins are rows; each replica follows them."""

import asyncio

import pytest

from app.adapters import repository
from app.adapters.pins import Pins
from app.errors import ApiError
from tests.app.adapters.world import BASE, World


async def pinned(world: World, *, seconds: int, seed: int = 0) -> str:
    """Register a version whose row another replica has pinned; return its id."""
    id = (await world.version(await world.upload(seed=seed))).row.id
    await world.service.pin(world.org_id, id, seconds=seconds)
    for version in list(world.registry.pins):
        world.registry.unpin(version)
    return id


def digests(world: World) -> list[str]:
    return [version.digest for version in world.registry.pins]


async def test_a_pin_made_on_another_replica_is_followed(world: World) -> None:
    id = await pinned(world, seconds=60)

    await world.pins.follow()

    (row,) = [v.row for v in await world.service.all_of(world.org_id) if v.row.id == id]
    assert digests(world) == [row.digest]
    await world.pins.follow()
    assert digests(world) == [row.digest]


async def test_a_pin_ends_with_its_time(world: World) -> None:
    id = await pinned(world, seconds=60)
    await world.pins.follow()
    version = await world.service.get(world.org_id, id)
    later = float(version.row.pinned_until)
    follower = Pins(
        world.database.sessions,
        world.registry,
        {BASE: world.host},
        per_organization=1,
        clock=lambda: later,
    )

    await follower.follow()

    assert digests(world) == []


async def test_a_pin_that_fails_bars_no_other_and_is_tried_again(world: World) -> None:
    broken = await pinned(world, seconds=120, seed=1)
    whole = await pinned(world, seconds=60, seed=2)
    rows = {v.row.id: v.row for v in await world.service.all_of(world.org_id)}
    for version in world.registry.residents():
        await world.registry.discard(version)
    world.host.refused.add(rows[broken].digest)

    await world.pins.follow()
    assert digests(world) == [rows[whole].digest]

    world.host.refused.clear()
    await world.pins.follow()
    assert set(digests(world)) == {rows[broken].digest, rows[whole].digest}


async def test_a_pin_of_a_model_that_this_replica_does_not_serve_is_not_its_business(
    world: World,
) -> None:
    await pinned(world, seconds=60)

    await Pins(world.database.sessions, world.registry, {}, per_organization=1).follow()

    assert digests(world) == []


async def test_no_more_is_pinned_than_may_be_however_many_ask_at_once(world: World) -> None:
    rows = [(await world.version(await world.upload(seed=seed))).row for seed in range(4)]

    answers = await asyncio.gather(
        *(world.pins.pin(row, seconds=60) for row in rows), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, ApiError)]
    assert [(error.status, error.code) for error in refused] == [(409, "pin_limit_reached")] * 2
    assert len(digests(world)) == 2


async def test_one_organisation_cannot_take_every_place(world: World) -> None:
    rows = [(await world.version(await world.upload(seed=seed))).row for seed in range(2)]
    pins = Pins(world.database.sessions, world.registry, {BASE: world.host}, per_organization=1)
    await pins.pin(rows[0], seconds=60)

    with pytest.raises(ApiError, match="for your organization"):
        await pins.pin(rows[1], seconds=60)


async def test_pinning_what_was_deleted_in_the_meantime_finds_nothing(world: World) -> None:
    row = (await world.version(await world.upload())).row
    async with world.registry.lease(repository.version_of(row)):
        await world.service.delete(world.org_id, row.id)
        for attempt in (world.pins.pin(row, seconds=60), world.pins.unpin(row)):
            with pytest.raises(ApiError) as caught:
                await attempt
            assert caught.value.status == 404
