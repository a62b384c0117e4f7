"""The verdict on an uploaded adapter: validated, loaded, seen to generate, then stored."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters_registry.archive import extract
from adapters_registry.artifacts import publish, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.errors import AdapterLoadFailed, InvalidAdapter
from adapters_registry.host import AdapterHost
from adapters_registry.registry import AdapterRegistry
from adapters_registry.store import ObjectStore
from adapters_registry.threads import finish
from adapters_registry.types import AdapterVersion, Artifact
from adapters_registry.validation import canonicalise
from app.engine.base import ChatEngine, ChatJob, Sampling
from app.ids import new_id

CANARY = ({"role": "user", "content": "Hello"},)
CANARY_SALT = "canary"
CANARY_TOKENS = 4
MAX_PARALLEL_UNPACKS = 2


class AdapterPublisher:
    """Turns an uploaded ZIP into a stored artifact that the engine is known to run.

    Nothing is stored before the engine has generated with the adapter. What a failed trial leaves
    in the local cache has no row, is never served, and goes with the cache's oldest entries.
    """

    def __init__(
        self,
        store: ObjectStore,
        cache: DiskCache,
        registry: AdapterRegistry,
        *,
        work_dir: Path,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._cache = cache
        self._registry = registry
        self._work_dir = work_dir
        self._max_bytes = max_bytes
        self._unpacks = asyncio.Semaphore(MAX_PARALLEL_UNPACKS)

    @asynccontextmanager
    async def validated(
        self, upload_key: str, base_model: str, host: AdapterHost
    ) -> AsyncIterator[Artifact]:
        """Unpack and check the ZIP under `upload_key`; its files on disk end with the block.

        **Raises:** InvalidAdapter, StoreError.
        """
        room = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._work_dir))
        try:
            async with self._unpacks:
                archive = room / "upload.zip"
                await self._store.get(upload_key, archive)
                validation = asyncio.to_thread(self._validate, archive, base_model, host)
                # A cancelled caller waits for the thread, which still writes into the room.
                artifact = await finish(asyncio.ensure_future(validation), lambda: None)
            yield artifact
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, room, ignore_errors=True))

    def _validate(self, archive: Path, base_model: str, host: AdapterHost) -> Artifact:
        directory = archive.with_name("adapter")
        directory.mkdir()
        extract(archive, directory, max_bytes=self._max_bytes)
        return canonicalise(directory, base_model=base_model, shapes=host.shapes, ranks=host.ranks)

    async def publish(self, artifact: Artifact, engine: ChatEngine) -> None:
        """Have the engine generate with the adapter, then store it.

        **Raises:** InvalidAdapter, StoreError, AdapterCapacityExceeded, EngineError.
        """
        await self._cache.add(artifact)
        try:
            async with self._registry.lease(artifact.version) as lease:
                job = ChatJob(
                    request_id=new_id("req"),
                    messages=CANARY,
                    sampling=Sampling(temperature=0, max_tokens=CANARY_TOKENS),
                    cache_salt=CANARY_SALT,
                    adapter=lease.adapter,
                )
                async for _ in engine.chat(job):
                    pass
                await publish(self._store, artifact)
        except AdapterLoadFailed as error:
            message = f"The engine could not load this adapter for {engine.card.id}."
            raise InvalidAdapter("load_failed", message) from error

    async def withdraw(self, version: AdapterVersion) -> None:
        """Remove an artifact that no row names any more; returns when it is gone everywhere."""
        try:
            await self._registry.retire(version)
            await unpublish(self._store, version.digest)
        finally:
            # Whoever registers the same content again writes all of it again.
            await self._registry.reinstate(version)
