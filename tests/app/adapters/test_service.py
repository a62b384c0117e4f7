"""Registering, activating, pinning and deleting adapters on one replica."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from adapters_registry.errors import InvalidAdapter, ObjectNotFound, StoreUnavailable
from adapters_registry.types import Tier
from app.adapters import repository, service
from app.adapters.service import Version
from app.db.tables import BucketAdapterRow, FineTuningRow
from app.engine.base import EngineDead
from app.errors import ApiError
from app.ids import new_id
from tests.app.adapters.world import BASE, World


async def test_a_registration_is_tried_on_the_engine_before_it_is_stored(world: World) -> None:
    model = await world.register(await world.upload())

    (run,) = world.engine.runs
    assert run.adapter is not None
    assert model.endswith(run.adapter.version.digest[:12])
    assert len(await world.artifacts()) == 2


async def test_what_is_registered_can_be_resolved_by_id_and_by_alias(world: World) -> None:
    model = await world.register(await world.upload())

    for name in (model, model.rpartition("-")[0]):
        resolved = await world.resolver.resolve(world.org_id, name)
        assert resolved.id == model
        assert resolved.version is not None
        assert model.endswith(resolved.version.digest[:12])


async def test_an_alias_follows_the_version_registered_last(world: World) -> None:
    first = await world.register(await world.upload(seed=1))
    second = await world.register(await world.upload(seed=2))
    alias = first.rpartition("-")[0]

    assert (await world.resolver.resolve(world.org_id, alias)).id == second
    assert (await world.resolver.resolve(world.org_id, first)).id == first


async def test_another_organisation_resolves_neither_id_nor_alias(world: World) -> None:
    model = await world.register(await world.upload())

    for name in (model, model.rpartition("-")[0]):
        with pytest.raises(ApiError) as caught:
            await world.resolver.resolve("org_01jh6x76wtemjr74t1fh0faj5t", name)
        assert caught.value.status == 404


async def test_deleted_content_may_be_registered_again(world: World) -> None:
    file_id = await world.upload()
    await world.delete(await world.register(file_id))

    model = await world.register(file_id)

    assert (await world.resolver.resolve(world.org_id, model)).id == model
    assert len(await world.artifacts()) == 2


async def test_an_adapter_that_breaks_a_rule_leaves_nothing(world: World) -> None:
    file_id = await world.upload(rank=4)

    with pytest.raises(InvalidAdapter) as caught:
        await world.register(file_id)

    assert caught.value.code == "rank_unsupported"
    await assert_nothing_is_left(world)
    assert world.host.loads == []


async def test_an_adapter_that_the_engine_refuses_leaves_nothing(world: World) -> None:
    file_id = await world.upload()
    digest = await digest_of(world, file_id)
    world.host.refused.add(digest)

    with pytest.raises(InvalidAdapter) as caught:
        await world.register(file_id)

    assert caught.value.code == "load_failed"
    await assert_nothing_is_left(world)


async def test_an_engine_that_dies_during_the_trial_stores_nothing(world: World) -> None:
    world.engine.error = EngineDead("gone")

    with pytest.raises(EngineDead):
        await world.register(await world.upload())

    await assert_nothing_is_left(world)


@pytest.mark.parametrize(
    ("base_model", "name", "param"),
    [("other", "mine", "base_model"), (BASE, "Not A Name", "name")],
)
async def test_a_wrong_request_names_its_field(
    world: World, base_model: str, name: str, param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await world.service.register(
            world.org_id, name=name, base_model=base_model, input_file_id="file_0"
        )

    assert caught.value.status == 400
    assert caught.value.param == param


async def test_an_upload_whose_bytes_are_gone_is_said_so(world: World) -> None:
    file_id = await world.upload()
    await world.store.delete(world.uploads[file_id])

    with pytest.raises(ObjectNotFound):
        await world.register(file_id)


async def digest_of(world: World, file_id: str) -> str:
    """Learn a digest by registering once and forgetting it again."""
    model = await world.register(file_id)
    row = await world.service.get_model(world.org_id, model)
    await world.delete(model)
    return row.digest


async def assert_nothing_is_left(world: World) -> None:
    assert await world.artifacts() == []
    assert await world.service.all_of(world.org_id) == []
    with suppress(FileNotFoundError):
        assert list((world.room / "work").iterdir()) == []


@pytest.mark.parametrize("id", ["\0", "ft_", "ft_\0", "x" * 5000, "ft:\0", "ft:b:o/n"])
async def test_an_id_that_cannot_be_one_is_not_found(world: World, id: str) -> None:
    for find in (world.service.get, world.service.get_model):
        with pytest.raises(ApiError) as caught:
            await find(world.org_id, id)
        assert caught.value.status == 404


async def test_a_version_is_found_by_its_alias(world: World) -> None:
    model = await world.register(await world.upload())

    found = await world.service.get_model(world.org_id, model.rpartition("-")[0])

    assert found.fine_tuned_model == model


async def test_the_same_content_and_name_are_registered_once_also_at_the_same_time(
    world: World,
) -> None:
    file_id = await world.upload()

    models = await asyncio.gather(*(world.register(file_id) for _ in range(5)))

    assert len(set(models)) == 1
    assert len(await world.service.all_of(world.org_id)) == 1
    assert len(await world.artifacts()) == 2


async def test_deleting_one_name_of_the_same_content_leaves_the_other_whole(world: World) -> None:
    file_id = await world.upload()
    one, two = await world.register(file_id, "one"), await world.register(file_id, "two")

    await world.delete(one)

    version = (await world.resolver.resolve(world.org_id, two)).version
    assert version is not None
    await world.cache.remove(version.digest)
    async with world.registry.lease(version) as lease:
        assert lease.adapter.version.digest == version.digest
    await world.delete(two)
    assert await world.artifacts() == []
    assert world.host.known == {}


async def test_content_is_registered_again_while_a_stream_still_uses_the_deleted_one(
    world: World,
) -> None:
    file_id = await world.upload()
    model = await world.register(file_id)
    version = (await world.resolver.resolve(world.org_id, model)).version
    assert version is not None
    async with world.registry.lease(version):
        row = await world.service.get_model(world.org_id, model)
        await world.service.delete(world.org_id, row.id)

        assert await world.register(file_id) == model

    await world.removals()
    again = (await world.resolver.resolve(world.org_id, model)).version
    assert again is not None
    async with world.registry.lease(again):
        pass
    assert len(await world.artifacts()) == 2


async def test_a_store_that_fails_during_a_removal_does_not_bar_the_content(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await world.upload()
    model = await world.register(file_id)

    async def unavailable(key: str) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "delete", unavailable)
        await world.delete(model)

    assert await world.register(file_id) == model


async def test_an_adapter_of_another_model_that_is_served_is_refused(world: World) -> None:
    file_id = await world.upload(base_model_name_or_path="other/llama")

    with pytest.raises(InvalidAdapter) as caught:
        await world.register(file_id)

    assert caught.value.code == "base_model_mismatch"


async def test_registering_old_weights_again_moves_the_alias_back(world: World) -> None:
    old_file = await world.upload(seed=1)
    old = await world.register(old_file)
    new = await world.register(await world.upload(seed=2))
    alias = old.rpartition("-")[0]
    assert await world.resolves(alias) == new

    assert await world.register(old_file) == old
    assert await world.resolves(alias) == old


async def test_activating_a_version_moves_the_alias_and_no_id(world: World) -> None:
    versions = [await world.version(await world.upload(seed=seed)) for seed in (1, 2, 3)]
    models = [version.row.fine_tuned_model for version in versions]
    alias = models[0].rpartition("-")[0]

    await world.service.activate(world.org_id, versions[0].row.id)

    assert await world.resolves(alias) == models[0]
    assert [await world.resolves(model) for model in models] == models
    listed = {v.row.id: v.is_active for v in await world.service.all_of(world.org_id)}
    assert listed == {v.row.id: v is versions[0] for v in versions}


async def test_deleting_the_active_version_activates_the_one_before(world: World) -> None:
    first, second, third = [
        await world.version(await world.upload(seed=seed)) for seed in (1, 2, 3)
    ]
    alias = first.row.fine_tuned_model.rpartition("-")[0]
    await world.service.activate(world.org_id, first.row.id)

    await world.delete(first.row.fine_tuned_model)
    assert await world.resolves(alias) == third.row.fine_tuned_model
    await world.delete(third.row.fine_tuned_model)
    assert await world.resolves(alias) == second.row.fine_tuned_model
    await world.delete(second.row.fine_tuned_model)
    with pytest.raises(ApiError):
        await world.resolves(alias)


async def test_names_and_base_models_narrow_the_list(world: World) -> None:
    one = await world.register(await world.upload(seed=1), "one")
    await world.register(await world.upload(seed=2), "two")

    found = await world.service.all_of(world.org_id, name="one", base_model=BASE)

    assert [version.row.fine_tuned_model for version in found] == [one]
    assert await world.service.all_of(world.org_id, base_model="another") == []


async def test_another_organisation_can_do_nothing_with_a_version(world: World) -> None:
    id = (await world.version(await world.upload())).row.id
    service, stranger = world.service, new_id("org")
    attempts = [
        service.get(stranger, id),
        service.activate(stranger, id),
        service.warm(stranger, id),
        service.pin(stranger, id, seconds=60),
        service.unpin(stranger, id),
        service.delete(stranger, id),
    ]
    for attempt in attempts:
        with pytest.raises(ApiError) as caught:
            await attempt
        assert caught.value.status == 404


async def test_warming_tells_the_tier_that_the_weights_came_from(world: World) -> None:
    version = await world.version(await world.upload())
    assert (await world.service.warm(world.org_id, version.row.id)).tier is Tier.ENGINE
    (resident,) = world.registry.residents()
    await world.registry.discard(resident)

    warmth = await world.service.warm(world.org_id, version.row.id)

    assert warmth.tier is Tier.STORE
    assert warmth.seconds > 0


async def test_a_pinned_version_stays_loaded_when_others_press(world: World) -> None:
    pinned = await world.version(await world.upload(seed=0))
    await world.service.pin(world.org_id, pinned.row.id, seconds=60)

    for seed in range(1, 8):
        await world.version(await world.upload(seed=seed), "other")

    warmth = await world.service.warm(world.org_id, pinned.row.id)
    assert warmth.tier is Tier.ENGINE


async def test_pins_leave_every_slot_to_the_others(world: World) -> None:
    versions = [await world.version(await world.upload(seed=seed)) for seed in range(3)]
    for version in versions[:2]:
        await world.service.pin(world.org_id, version.row.id, seconds=60)

    with pytest.raises(ApiError) as caught:
        await world.service.pin(world.org_id, versions[2].row.id, seconds=60)
    assert (caught.value.status, caught.value.code) == (409, "pin_limit_reached")

    await world.service.pin(world.org_id, versions[0].row.id, seconds=120)
    await world.service.unpin(world.org_id, versions[0].row.id)
    await world.service.pin(world.org_id, versions[2].row.id, seconds=60)


async def test_a_deleted_version_is_pinned_no_more(world: World) -> None:
    version = await world.version(await world.upload())
    await world.service.pin(world.org_id, version.row.id, seconds=60)

    await world.delete(version.row.fine_tuned_model)

    assert list(world.registry.pins) == []
    assert world.host.known == {}


async def test_a_refused_adapter_of_the_bucket_is_shown_to_its_owner_alone(world: World) -> None:
    refused = BucketAdapterRow(
        id=new_id("ft"),
        source="acme/base/broken",
        org_id=world.org_id,
        base_model=BASE,
        name="broken",
        applied="mark",
        code="not_finite",
        param="tensor",
        message="Tensor tensor holds NaN or infinity.",
        created_at=1,
    )
    async with world.database.sessions.begin() as session:
        session.add(refused)

    found = await world.service.get(world.org_id, refused.id)
    assert not isinstance(found, Version)
    assert found.code == "not_finite"
    assert [row.id for row in await world.service.refused_of(world.org_id)] == [refused.id]
    assert await world.service.refused_of(new_id("org")) == []
    with pytest.raises(ApiError):
        await world.service.get(new_id("org"), refused.id)
    with pytest.raises(ApiError, match="acme/base/broken") as caught:
        await world.service.activate(world.org_id, refused.id)
    assert caught.value.status == 409


async def test_an_upload_outlives_the_bucket_directory_of_the_same_content(world: World) -> None:
    file_id = await world.upload()
    model = await world.register(file_id)
    async with world.database.sessions.begin() as session:
        values = {"source": "acme/base/mine", "input_file_id": None}
        await session.execute(update(FineTuningRow).values(values))

    assert await world.register(file_id) == model

    row = await world.service.get_model(world.org_id, model)
    assert (row.source, row.input_file_id) == (None, file_id)


async def test_registering_again_mends_an_artifact_that_was_damaged(world: World) -> None:
    file_id = await world.upload()
    model = await world.register(file_id)
    version = (await world.resolver.resolve(world.org_id, model)).version
    assert version is not None
    await world.registry.discard(version)
    await world.store.put((await world.artifacts())[1], Path(__file__))

    assert await world.register(file_id) == model

    async with world.registry.lease(version):
        pass


async def test_a_version_deleted_between_two_registrations_of_it_is_registered_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await world.upload()
    insert = repository.insert

    async def lose(session: AsyncSession, row: FineTuningRow) -> None:
        monkeypatch.setattr(repository, "insert", insert)
        raise IntegrityError("another was faster, and has been deleted since", None, Exception())

    monkeypatch.setattr(repository, "insert", lose)

    model = await world.register(file_id)

    assert await world.resolves(model) == model
    assert len(await world.artifacts()) == 2


async def test_a_dead_engine_does_not_keep_a_deleted_artifact_in_the_store(world: World) -> None:
    model = await world.register(await world.upload())
    world.host.unload_error = EngineDead("gone")

    await world.delete(model)

    assert await world.artifacts() == []
    world.host.unload_error = None


async def test_registrations_of_one_organisation_leave_room_for_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TURN_SECONDS", 0.05)
    begun, go_on = asyncio.Event(), asyncio.Event()
    get = world.store.get

    async def slow(key: str, destination: Path) -> None:
        if key.startswith("files/"):
            begun.set()
            await go_on.wait()
        await get(key, destination)

    file_id = await world.upload()
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "get", slow)
        first = asyncio.create_task(world.register(file_id, "one"))
        await begun.wait()
        others = [world.register(file_id, f"other-{number}") for number in range(8)]
        answers = await asyncio.gather(*others, return_exceptions=True)
        assert {getattr(answer, "status", None) for answer in answers} == {503}
        assert len(list((world.room / "work").iterdir())) == 1
        go_on.set()
        await first
