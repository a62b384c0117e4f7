"""One replica's adapters over a real database, store, cache and registry, and a scripted engine."""

import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters_registry.cache import DiskCache
from adapters_registry.directory import DirectoryStore
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import RecordingHost
from app.adapters import repository
from app.adapters.intake import AdapterIntake
from app.adapters.pins import Pins
from app.adapters.publisher import AdapterPublisher
from app.adapters.resolver import ModelResolver
from app.adapters.service import AdapterService, Version
from app.adapters.withdrawals import Withdrawals
from app.auth.repository import ensure_organization
from app.db.engine import Database
from app.engine.base import ModelCard, Run
from app.errors import not_found
from tests.adapters_registry.adapters import SHAPES, lora_tensors, write_adapter

BASE = "base"


class ScriptedEngine:
    """Answers every prompt with one word, or dies."""

    card = ModelCard(BASE, "system", 512, 256, "fp_0123456789")

    def __init__(self, host: RecordingHost) -> None:
        self.adapters = host
        self.error: Exception | None = None

        self.runs: list[Run] = []

    async def probe(self, run: Run) -> None:
        self.runs.append(run)
        if self.error:
            raise self.error

    async def check(self) -> None:
        return None


@dataclass
class World:
    """One replica's parts, and the uploads that its organisation made."""

    database: Database
    service: AdapterService
    publisher: AdapterPublisher
    resolver: ModelResolver
    registry: AdapterRegistry
    cache: DiskCache
    withdrawals: Withdrawals
    pins: Pins
    engine: ScriptedEngine
    host: RecordingHost
    store: DirectoryStore
    org_id: str
    room: Path
    uploads: dict[str, str] = field(default_factory=dict)

    async def upload(self, seed: int = 0, rank: int = 8, **config: str) -> str:
        """Store an adapter ZIP; return its file id."""
        directory = write_adapter(
            self.room / f"adapter-{seed}-{rank}",
            lora_tensors(seed=seed, rank=rank),
            rank=rank,
            config=config,
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
        return (await self.version(file_id, name)).row.fine_tuned_model

    async def version(self, file_id: str, name: str = "mine") -> Version:
        return await self.service.register(
            self.org_id, name=name, base_model=BASE, input_file_id=file_id
        )

    async def resolves(self, model: str) -> str:
        """Return the immutable id that a model id stands for."""
        return (await self.resolver.resolve(self.org_id, model)).id

    async def artifacts(self) -> list[str]:
        return [item.key async for item in self.store.list("artifacts/")]

    async def delete(self, model: str) -> None:
        row = await self.service.get_model(self.org_id, model)
        await self.service.delete(self.org_id, row.id)
        await self.removals()

    async def removals(self) -> None:
        """Wait for what deletions do in the background, however it ends."""
        await self.withdrawals.ended()


@asynccontextmanager
async def running(
    database: Database, room: Path, *, host: RecordingHost | None = None
) -> AsyncIterator[World]:
    """Run one replica whose store and local directories lie in `room`."""
    host = host or RecordingHost(4, slots=2, shapes=SHAPES)
    engine, store = ScriptedEngine(host), DirectoryStore(room / "objects")
    async with database.sessions.begin() as session:
        org_id = await ensure_organization(session, "acme", now=0)
    work_dir = room / "work"
    work_dir.mkdir(exist_ok=True)
    async with DiskCache(room / "cache", store, max_bytes=1 << 24) as cache:
        registry = AdapterRegistry(cache, {BASE: host}, wait_seconds=5)
        intake = AdapterIntake(
            store, work_dir=work_dir, max_bytes=1 << 24, foreign_bases=lambda _: {"other/llama"}
        )
        publisher = AdapterPublisher(database.sessions, store, cache, registry)
        withdrawals = Withdrawals(publisher)
        pins = Pins(database.sessions, registry, {BASE: host}, per_organization=2)

        async def upload_key(org: str, file_id: str) -> str:
            if org != org_id or file_id not in made.uploads:
                raise not_found("file", file_id)
            return made.uploads[file_id]

        adapters = AdapterService(
            database.sessions, intake, publisher, withdrawals, pins, {BASE: engine}, upload_key
        )
        made = World(
            database=database,
            service=adapters,
            publisher=publisher,
            resolver=ModelResolver({BASE: engine}, database.sessions),
            registry=registry,
            cache=cache,
            withdrawals=withdrawals,
            pins=pins,
            engine=engine,
            host=host,
            store=store,
            org_id=org_id,
            room=room,
        )
        yield made
        await withdrawals.close()
        await registry.close()


async def remove_row(world: World, model: str) -> None:
    """Do what a deletion on another replica does to this one: only the row goes."""
    row = await world.service.get_model(world.org_id, model)
    async with world.database.sessions.begin() as session:
        assert await repository.remove(session, world.org_id, row.id)
