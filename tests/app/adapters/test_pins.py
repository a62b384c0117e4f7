"""Pins are rows; each replica follows them."""

from app.adapters.pins import PinFollower
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
    follower = PinFollower(world.database.sessions, world.registry, [BASE], clock=lambda: later)

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

    await PinFollower(world.database.sessions, world.registry, ["another"]).follow()

    assert digests(world) == []
