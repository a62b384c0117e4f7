"""The models of a deployment that lacks one of its catalog."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.api.models.service import ModelsService
from app.catalog import ModelSpec
from app.db.engine import Database
from app.errors import ApiError
from tests.app.adapters.world import BASE, World, running

ABSENT = ModelSpec.model_validate(
    {"id": "absent", "task": "embedding", "source": "hub/absent", "context_window": 512}
)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path) as world:
        yield world


@pytest.fixture
def models(world: World) -> ModelsService:
    return ModelsService({BASE: world.engine}, {ABSENT.id: ABSENT}, world.service, started_at=1)


async def test_a_model_that_was_not_started_is_listed_as_not_active(
    models: ModelsService, world: World
) -> None:
    listed = (await models.list(world.org_id)).data

    assert [(model.id, model.active) for model in listed] == [(BASE, True), (ABSENT.id, False)]
    assert await models.get(world.org_id, ABSENT.id) == listed[1]


async def test_a_model_that_was_not_started_cannot_be_deleted(
    models: ModelsService, world: World
) -> None:
    with pytest.raises(ApiError) as refused:
        await models.delete(world.org_id, ABSENT.id)
    assert refused.value.status == 403
