"""One replica's adapter and chat services in this process, wired as the service wires them.

The database, the store and the disk cache are real and lie in one directory, so that a replica may
be opened again where another ended. The engines are the caller's.
"""

import asyncio
import os
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.cache import DiskCache
from adapters_registry.directory import DirectoryStore
from adapters_registry.host import AdapterHost
from adapters_registry.registry import AdapterRegistry
from app.adapters.intake import AdapterIntake
from app.adapters.orphans import ARTIFACT_OBJECTS
from app.adapters.pins import Pins
from app.adapters.publisher import AdapterPublisher
from app.adapters.resolver import ModelResolver
from app.adapters.service import AdapterService
from app.adapters.sweeper import Sweeper
from app.adapters.withdrawals import Withdrawals
from app.api.chat.schemas import ChatCompletionRequest
from app.api.chat.service import ChatService
from app.auth.authenticator import Caller
from app.auth.repository import ensure_organization
from app.db.engine import Database
from app.db.migrate import migrate
from app.db.tables import FineTuningRow
from app.engine.base import ChatEngine
from app.ids import new_id
from app.inference.admission import BoundedAdmission
from app.inference.context import RequestContext
from app.inference.serving import Inference, Ports
from app.limits.limiter import make_rate_limits
from app.observability.metrics import Metrics
from app.storage.orphans import OrphanSweep
from app.storage.ownership import StoreOwnership
from app.usage.tally import Tally
from tests.app.inference.stubs import StubImages

GRACE_SECONDS = 3600.0
WAIT_SECONDS = 120.0
PINS = 4
MAX_ADAPTER_BYTES = 1 << 26
ORGANISATION = "acme"


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told: the answer, the model that gave it and the digest of its weights."""

    text: str
    model: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a replica's services share."""

    engines: Mapping[str, ChatEngine]
    sessions: async_sessionmaker[AsyncSession]
    store: DirectoryStore
    cache: DiskCache
    registry: AdapterRegistry


@dataclass(frozen=True, slots=True)
class Replica:
    """A running replica of one organisation's service; `local` is its own directory."""

    room: Path
    local: Path
    org_id: str
    parts: Parts
    adapters: AdapterService
    withdrawals: Withdrawals
    chat: ChatService
    sweeper: Sweeper
    orphans: OrphanSweep

    async def upload(self, directory: Path) -> str:
        """Store an adapter's directory as an uploaded ZIP; return its file id."""
        file_id = new_id("file")
        archive = self.room / f"{file_id}.zip"
        await asyncio.to_thread(_zip, directory, archive)
        await self.parts.store.put(_upload_key(file_id), archive)
        archive.unlink()
        return file_id

    async def ask(self, model: str, prompt: str, *, tokens: int = 16) -> Told:
        """Ask greedily. **Raises:** ApiError."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": tokens,
        }
        request = ChatCompletionRequest.model_validate(body)
        context = RequestContext(Caller(self.org_id, "key_1"), new_id("req"))
        answer = await self.chat.complete(context, request)
        text = answer.choices[0].message.content
        assert text is not None
        return Told(text, answer.model, context.headers.get("x-adapter-digest"))

    async def rows(self) -> Sequence[FineTuningRow]:
        """Return every registered version."""
        async with self.parts.sessions() as session:
            return (await session.scalars(select(FineTuningRow))).all()

    def age_cache(self) -> None:
        """Make every entry of the disk cache look unused for long."""
        for entry in (self.local / "cache").iterdir():
            with suppress(FileNotFoundError):
                os.utime(entry, (0, 0))

    async def artifacts(self) -> set[str]:
        """Return the keys below `artifacts/` in the store."""
        return {info.key async for info in self.parts.store.list("artifacts/")}


@asynccontextmanager
async def running_replica(
    engines: Mapping[str, ChatEngine],
    room: Path,
    *,
    cache_bytes: int,
    clock: Callable[[], float],
) -> AsyncIterator[Replica]:
    """Run one replica on what lies in `room`. `clock` is the orphan sweep's."""
    local = room / "replica"
    await asyncio.to_thread(_empty_directory, local / "work")
    async with AsyncExitStack() as stack:
        database = await _open_database(room / "database.sqlite3")
        stack.push_async_callback(database.close)
        async with database.sessions.begin() as session:
            org_id = await ensure_organization(session, ORGANISATION, now=0)
        store = DirectoryStore(room / "store")
        cache = DiskCache(local / "cache", store, max_bytes=cache_bytes)
        await stack.enter_async_context(cache)
        registry = AdapterRegistry(cache, _hosts(engines), wait_seconds=WAIT_SECONDS)
        stack.push_async_callback(registry.close)
        parts = Parts(engines, database.sessions, store, cache, registry)
        publisher = AdapterPublisher(parts.sessions, store, cache, registry)
        withdrawals = Withdrawals(publisher)
        stack.push_async_callback(withdrawals.close)
        yield Replica(
            room=room,
            local=local,
            org_id=org_id,
            parts=parts,
            adapters=_service(parts, local / "work", publisher, withdrawals),
            withdrawals=withdrawals,
            chat=_chat(parts),
            sweeper=Sweeper(parts.sessions, cache, registry, Metrics()),
            orphans=_orphans(parts, local / "work", clock),
        )


async def _open_database(file: Path) -> Database:
    is_new = not await asyncio.to_thread(file.exists)
    database = Database(f"sqlite:///{file}")
    if is_new:
        await migrate(database)
    return database


def _hosts(engines: Mapping[str, ChatEngine]) -> dict[str, AdapterHost]:
    return {id: host for id, engine in engines.items() if (host := engine.adapters)}


def _service(
    parts: Parts, work_dir: Path, publisher: AdapterPublisher, withdrawals: Withdrawals
) -> AdapterService:
    sessions, engines = parts.sessions, parts.engines
    intake = AdapterIntake(
        parts.store, work_dir=work_dir, max_bytes=MAX_ADAPTER_BYTES, foreign_bases=lambda _: ()
    )
    pins = Pins(sessions, parts.registry, _hosts(engines), per_organization=PINS)
    return AdapterService(sessions, intake, publisher, withdrawals, pins, engines, _key_of)


def _chat(parts: Parts) -> ChatService:
    ports = Ports(
        resolver=ModelResolver(parts.engines, parts.sessions),
        adapters=parts.registry,
        limits=make_rate_limits(
            None, Metrics(), storage_url=None, timeout_seconds=1, retry_seconds=1
        ),
        admission=BoundedAdmission([each.card for each in parts.engines.values()], queue=64),
        observer=Metrics(),
        ledger=Tally(),
        salt=lambda org: f"salt of {org}",
    )
    return ChatService(Inference(ports), StubImages())


def _orphans(parts: Parts, work_dir: Path, clock: Callable[[], float]) -> OrphanSweep:
    return OrphanSweep(
        parts.sessions,
        parts.store,
        StoreOwnership(parts.sessions, parts.store, work_dir),
        Metrics(),
        [ARTIFACT_OBJECTS],
        grace_seconds=GRACE_SECONDS,
        clock=clock,
    )


def _empty_directory(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def _zip(directory: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as writer:
        for file in sorted(directory.iterdir()):
            writer.write(file, file.name)


def _upload_key(file_id: str) -> str:
    return f"files/{file_id}"


async def _key_of(_org_id: str, file_id: str) -> str:
    return _upload_key(file_id)
