"""What answers to a model id when a model of the catalog could not be started."""

import pytest

from app.adapters.resolver import ModelResolver
from app.errors import ApiError
from app.pools.directory import Pool, PoolDirectory, ServedElsewhere
from tests.app.adapters.world import BASE, World

STRANGER = "org_01jh6x76wtemjr74t1fh0faj5t"
ELSEWHERE = PoolDirectory([Pool("http://elsewhere", (BASE,))])


async def test_a_model_that_was_not_started_says_so_and_so_do_its_adapters(world: World) -> None:
    adapter = await world.register(await world.upload())
    resolver = ModelResolver({}, world.database.sessions, absent=[BASE])

    for model in (BASE, adapter):
        with pytest.raises(ApiError) as refused:
            await resolver.resolve(world.org_id, model)
        assert refused.value.status == 503
        assert f"The model `{BASE}` could not be started" in refused.value.message


async def test_others_are_not_told_of_adapters_of_a_model_that_was_not_started(
    world: World,
) -> None:
    adapter = await world.register(await world.upload())
    resolver = ModelResolver({}, world.database.sessions, absent=[BASE])

    with pytest.raises(ApiError) as refused:
        await resolver.resolve("org_01jh6x76wtemjr74t1fh0faj5t", adapter)
    assert refused.value.status == 404


async def test_a_model_of_another_pool_is_there_and_so_are_its_adapters(world: World) -> None:
    adapter = await world.register(await world.upload())
    alias = adapter.rpartition("-")[0]
    resolver = ModelResolver({}, world.database.sessions, pools=ELSEWHERE)

    for model in (BASE, adapter, alias):
        with pytest.raises(ServedElsewhere) as found:
            await resolver.resolve(world.org_id, model)
        assert (found.value.pool.url, found.value.model) == ("http://elsewhere", model)


async def test_others_are_not_told_where_an_adapter_is(world: World) -> None:
    adapter = await world.register(await world.upload())
    resolver = ModelResolver({}, world.database.sessions, pools=ELSEWHERE)

    for org_id, model in ((STRANGER, adapter), (world.org_id, "unknown")):
        with pytest.raises(ApiError) as refused:
            await resolver.resolve(org_id, model)
        assert refused.value.status == 404


async def test_what_is_served_here_is_answered_here(world: World) -> None:
    adapter = await world.register(await world.upload())
    pools = PoolDirectory([Pool("http://elsewhere", ("other",))])
    resolver = ModelResolver({BASE: world.engine}, world.database.sessions, pools=pools)

    assert (await resolver.resolve(world.org_id, adapter)).id == adapter
