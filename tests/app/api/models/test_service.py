"""The models of a deployment that lacks one of its catalog, and of one with several pools."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from app.adapters.service import Version
from app.api.models.schemas import Model, ModelList
from app.api.models.service import ModelsService
from app.catalog import ModelSpec
from app.db.engine import Database
from app.db.tables import FineTuningRow
from app.errors import ApiError
from app.pools.directory import Pool, PoolDirectory, ServedElsewhere
from tests.app.adapters.world import BASE, World, running

NEAR = Pool("http://near", ("near",))
FAR = Pool("http://far", ("far", "further"))
KEY = "Bearer gsk_x"

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


class Answers:
    """Other pools, which answer as they are told; `keys` are those that they were asked with."""

    def __init__(self, **answers: bytes | None) -> None:
        self._answers = answers
        self.keys: list[str] = []

    async def ask(self, authorization: str) -> Mapping[Pool, bytes | None]:
        self.keys.append(authorization)
        pools = {"near": NEAR, "far": FAR}
        return {pools[name]: answer for name, answer in self._answers.items()}


def told(*ids: str) -> bytes:
    """Write what a pool says of its models."""
    models = [
        Model(
            id=id, created=7, owned_by=f"owner of {id}", context_window=99, max_completion_tokens=9
        )
        for id in ids
    ]
    return ModelList(data=models).model_dump_json().encode()


def with_pools(world: World, answers: Answers) -> ModelsService:
    pools = PoolDirectory([NEAR, FAR])
    engines = {BASE: world.engine}
    return ModelsService(engines, {}, world.service, started_at=1, pools=pools, listing=answers)


async def registered(world: World, base_model: str, seed: int) -> FineTuningRow:
    """Register an adapter, as if for another base model."""
    version: Version = await world.version(await world.upload(seed), f"mine-{seed}")
    row = version.row
    row.fine_tuned_model = row.fine_tuned_model.replace(BASE, base_model, 1)
    row.base_model = base_model
    async with world.database.sessions.begin() as session:
        await session.merge(row)
    return row


async def test_models_of_all_pools_are_listed_bases_first_and_adapters_newest_first(
    world: World,
) -> None:
    older = await registered(world, "near", 1)
    own = await registered(world, BASE, 2)
    newest = await registered(world, "far", 3)
    answers = Answers(near=told("near", "ft:theirs"), far=told("further", "far"))

    listed = (await with_pools(world, answers).list(world.org_id, KEY)).data

    adapters = [row.fine_tuned_model for row in (newest, own, older)]
    assert [model.id for model in listed] == [BASE, "near", "far", "further", *adapters]
    assert all(model.active for model in listed)
    assert [model.context_window for model in listed] == [512, 99, 99, 99, 99, 512, 99]
    assert listed[1].owned_by == "owner of near"
    assert {model.owned_by for model in listed[4:]} == {world.org_id}
    assert answers.keys == [KEY]


@pytest.mark.parametrize("answer", [None, b"", b"{}", b"<html>", told("another")])
async def test_models_of_a_pool_that_does_not_say_are_not_active(
    world: World, answer: bytes | None
) -> None:
    row = await registered(world, "near", 1)
    answers = Answers(near=answer, far=told("far", "further"))

    listed = (await with_pools(world, answers).list(world.org_id, KEY)).data

    active = {model.id: model.active for model in listed}
    assert active == {
        BASE: True,
        "near": False,
        "far": True,
        "further": True,
        row.fine_tuned_model: False,
    }


async def test_who_asks_for_a_pools_own_models_gets_no_others(world: World) -> None:
    await registered(world, "near", 1)
    answers = Answers(near=told("near"))
    listed = (await with_pools(world, answers).list(world.org_id)).data
    assert [model.id for model in listed] == [BASE]
    assert answers.keys == []


async def test_a_model_of_another_pool_is_shown_there(world: World) -> None:
    row = await registered(world, "far", 1)
    models = with_pools(world, Answers())
    for id, pool in (("near", NEAR), ("further", FAR), (row.fine_tuned_model, FAR)):
        with pytest.raises(ServedElsewhere) as found:
            await models.get(world.org_id, id)
        assert (found.value.pool, found.value.model) == (pool, id)
    with pytest.raises(ApiError) as unknown:
        await models.get(world.org_id, "unknown")
    assert unknown.value.status == 404


async def test_deleting_needs_no_other_pool(world: World) -> None:
    row = await registered(world, "far", 1)
    models = with_pools(world, Answers())
    with pytest.raises(ApiError) as refused:
        await models.delete(world.org_id, "far")
    assert refused.value.status == 403
    await models.delete(world.org_id, row.fine_tuned_model)
    with pytest.raises(ApiError) as gone:
        await models.get(world.org_id, row.fine_tuned_model)
    assert gone.value.status == 404
