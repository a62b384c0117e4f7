"""Registering and deleting adapters, with a real database, store, cache and registry."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters_registry.cache import DiskCache
from adapters_registry.directory import DirectoryStore
from adapters_registry.errors import InvalidAdapter, ObjectNotFound, StoreUnavailable
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import RecordingHost
from app.adapters import service
from app.adapters.publisher import AdapterPublisher
from app.adapters.resolver import ModelResolver
from app.adapters.service import AdapterService
from app.auth.repository import ensure_organization
from app.db.engine import Database
from app.engine.base import ChatDelta, ChatJob, EngineDead, ModelCard, Usage
from app.errors import ApiError, not_found
from tests.adapters_registry.adapters import SHAPES, lora_tensors, write_adapter

BASE = "base"
DONE = ChatDelta("ok", "stop", Usage(1, 1, 0, 0.0, 0.0, 0.0))


class ScriptedEngine:
    """Answers every prompt with one word, or dies."""

    card = ModelCard(BASE, "system", 512, 256, "fp_0123456789")

    def __init__(self, host: RecordingHost) -> None:
        self.adapters = host
        self.error: Exception | None = None
        self.jobs: list[ChatJob] = []

    async def chat(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        self.jobs.append(job)
        if self.error:
            raise self.error
        yield DONE

    async def check(self) -> None:
        return None


@dataclass
class World:
    """One replica's parts, and the uploads that its organisation made."""

    service: AdapterService
    resolver: ModelResolver
    registry: AdapterRegistry
    engine: ScriptedEngine
    host: RecordingHost
    store: DirectoryStore
    org_id: str
    room: Path
    uploads: dict[str, str] = field(default_factory=dict)

    async def upload(self, seed: int = 0, rank: int = 8) -> str:
        """Store an adapter ZIP; return its file id."""
        directory = write_adapter(
            self.room / f"adapter-{seed}-{rank}", lora_tensors(seed=seed, rank=rank), rank=rank
        )
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        return await self.upload_zip(files)

    async def upload_zip(self, files: Mapping[str, bytes]) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        file_id = f"file_{len(self.uploads)}"
        path = self.room / file_id
        path.write_bytes(buffer.getvalue())
        self.uploads[file_id] = f"files/{file_id}"
        await self.store.put(self.uploads[file_id], path)
        return file_id

    async def register(self, file_id: str, name: str = "mine") -> str:
        row = await self.service.register(
            self.org_id, name=name, base_model=BASE, input_file_id=file_id
        )
        return row.fine_tuned_model

    async def artifacts(self) -> list[str]:
        return [item.key async for item in self.store.list("artifacts/")]

    async def delete(self, model: str) -> None:
        row = await self.service.get_model(self.org_id, model)
        await self.service.delete(self.org_id, row.id)
        await asyncio.gather(*self.service._removals)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    host = RecordingHost(2, shapes=SHAPES)
    engine, store = ScriptedEngine(host), DirectoryStore(tmp_path / "objects")
    async with database.sessions.begin() as session:
        org_id = await ensure_organization(session, "acme", now=0)
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    async with DiskCache(tmp_path / "cache", store, max_bytes=1 << 24) as cache:
        registry = AdapterRegistry(cache, {BASE: host}, wait_seconds=5)
        publisher = AdapterPublisher(store, cache, registry, work_dir=work_dir, max_bytes=1 << 24)

        async def upload_key(org: str, file_id: str) -> str:
            if org != org_id or file_id not in made.uploads:
                raise not_found("file", file_id)
            return made.uploads[file_id]

        adapters = AdapterService(database.sessions, publisher, {BASE: engine}, upload_key)
        resolver = ModelResolver({BASE: engine}, database.sessions)
        made = World(adapters, resolver, registry, engine, host, store, org_id, tmp_path)
        yield made
        await adapters.close()
        await registry.close()


async def test_a_registration_is_tried_on_the_engine_before_it_is_stored(world: World) -> None:
    model = await world.register(await world.upload())

    (job,) = world.engine.jobs
    assert job.adapter is not None
    assert model.endswith(job.adapter.version.digest[:12])
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


async def test_the_same_content_and_name_are_registered_once_also_at_the_same_time(
    world: World,
) -> None:
    file_id = await world.upload()

    models = await asyncio.gather(*(world.register(file_id) for _ in range(5)))

    assert len(set(models)) == 1
    assert len(await world.service.all_of(world.org_id)) == 1
    assert len(world.engine.jobs) == 1


async def test_the_same_content_under_two_names_is_stored_once(world: World) -> None:
    file_id = await world.upload()
    one, two = await world.register(file_id, "one"), await world.register(file_id, "two")

    assert one != two
    assert len(await world.artifacts()) == 2

    await world.delete(one)
    assert len(await world.artifacts()) == 2
    await world.delete(two)
    assert await world.artifacts() == []
    assert world.host.known == {}


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


async def test_a_store_that_fails_during_a_removal_does_not_bar_the_content(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await world.upload()
    model = await world.register(file_id)

    async def unavailable(key: str) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "delete", unavailable)
        row = await world.service.get_model(world.org_id, model)
        await world.service.delete(world.org_id, row.id)
        await asyncio.gather(*world.service._removals, return_exceptions=True)

    assert await world.register(file_id) == model


async def test_a_removal_that_waits_for_a_stream_holds_up_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CONTENT_WAIT_SECONDS", 0.05)
    file_id, others = await world.upload(seed=1), await world.upload(seed=2)
    model = await world.register(file_id)
    resolved = await world.resolver.resolve(world.org_id, model)
    assert resolved.version is not None
    async with world.registry.lease(resolved.version):
        row = await world.service.get_model(world.org_id, model)
        await world.service.delete(world.org_id, row.id)
        (removal,) = world.service._removals
        await asyncio.sleep(0)

        attempts = [world.register(file_id) for _ in range(3)]
        refusals = await asyncio.gather(*attempts, return_exceptions=True)
        assert {getattr(refusal, "status", None) for refusal in refusals} == {503}
        assert await world.register(others, "other")

    await removal
    assert await world.register(file_id) == model


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
