"""What answers to a model id when a model of the catalog could not be started."""

import pytest

from app.adapters.resolver import ModelResolver
from app.errors import ApiError
from tests.app.adapters.world import BASE, World


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
