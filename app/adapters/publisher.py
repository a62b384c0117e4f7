"""From a checked artifact to a registered version: tried on the engine, stored, then named.

Each step can be the last: what was stored without a row is removed by the sweeper, what the engine
or the disk cache still hold without one by the upkeep. No row is ever without its artifact.
"""

import time
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.artifacts import publish, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.errors import AdapterLoadFailed, InvalidAdapter, StoreError
from adapters_registry.registry import AdapterRegistry
from adapters_registry.store import ObjectStore
from adapters_registry.types import Artifact
from app.adapters import repository
from app.adapters.names import Alias, fine_tuned_model
from app.db.tables import FineTuningRow
from app.engine.base import Engine, EngineError, Run
from app.idempotency.claim import NO_CLAIM, Claim
from app.ids import new_id

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version came from: an uploaded file or a directory of the bucket."""

    input_file_id: str | None = None
    source: str | None = None


class AdapterPublisher:
    """Registers versions. Nothing is stored before the engine has generated with the adapter."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        cache: DiskCache,
        registry: AdapterRegistry,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._cache = cache
        self._registry = registry

    async def publish(
        self,
        alias: Alias,
        artifact: Artifact,
        engine: Engine,
        origin: Origin,
        claim: Claim = NO_CLAIM,
    ) -> FineTuningRow:
        """Make the artifact the version that the alias stands for.

        Content that has this name already is stored again, activated, and its row returned.
        **Raises:** InvalidAdapter, StoreError, AdapterCapacityExceeded, EngineError; ApiError 409
        where the claim is lost.
        """
        if (row := await self._activated(alias, artifact, origin)) is not None:
            await publish(self._store, artifact, row.stored_as)
            await self._record(claim, row)
            return row
        id = new_id("ft")
        await self._try(artifact, engine)
        await publish(self._store, artifact, id)
        return await self._named(id, alias, artifact, origin, claim)

    async def withdraw(self, row: FineTuningRow) -> None:
        """Remove what a deleted row leaves: from engine and disk once unused, then the store.

        **Raises:** StoreError, EngineError.
        """
        try:
            async with self._sessions() as session:
                is_shared = bool(await repository.registered(session, [row.digest]))
            if not is_shared:
                await self._registry.discard(repository.version_of(row))
        except EngineError:
            log.warning("unloading left to the engine's end", id=row.id)
        async with self._sessions() as session:
            # Rows of the first schema may share an artifact.
            is_needed = bool(await repository.stored(session, [row.stored_as]))
        if not is_needed:
            await unpublish(self._store, row.stored_as)

    async def _named(
        self, id: str, alias: Alias, artifact: Artifact, origin: Origin, claim: Claim
    ) -> FineTuningRow:
        for attempts_left in (1, 0):
            row = _row(id, alias, artifact, origin)
            try:
                async with self._sessions.begin() as session:
                    await repository.insert(session, row)
                    await claim.record(session, id)
                break
            except IntegrityError:
                # The same content got this name in the meantime, and may have lost it again.
                if (other := await self._activated(alias, artifact, origin)) is not None:
                    await self._take_back(id)
                    await self._record(claim, other)
                    return other
                if not attempts_left:
                    raise
        return row

    async def _activated(
        self, alias: Alias, artifact: Artifact, origin: Origin
    ) -> FineTuningRow | None:
        digest = artifact.version.digest
        model = fine_tuned_model(alias, digest)
        async with self._sessions.begin() as session:
            row = await repository.by_model(session, alias.org_id, model)
            if row is None:
                return None
            if row.digest != digest:
                message = "Another version of this name has the same 12 digits."
                raise InvalidAdapter("digest_collision", message, param="name")
            return await repository.activate(session, row, input_file_id=origin.input_file_id)

    async def _record(self, claim: Claim, row: FineTuningRow) -> None:
        # After all else: an earlier failure is to be made good by the retry.
        async with self._sessions.begin() as session:
            await claim.record(session, row.id)

    async def _try(self, artifact: Artifact, engine: Engine) -> None:
        pin = await self._cache.add(artifact)
        try:
            async with self._registry.lease(artifact.version) as lease:
                await engine.probe(Run(new_id("req"), lease.adapter))
        except AdapterLoadFailed as error:
            message = f"The engine could not load this adapter for {engine.card.id}."
            raise InvalidAdapter("load_failed", message, param="file") from error
        finally:
            pin.release()

    async def _take_back(self, stored_as: str) -> None:
        try:
            await unpublish(self._store, stored_as)
        except StoreError as error:
            log.warning("artifact left to the sweeper", id=stored_as, error=type(error).__name__)


def _row(id: str, alias: Alias, artifact: Artifact, origin: Origin) -> FineTuningRow:
    return FineTuningRow(
        id=id,
        org_id=alias.org_id,
        name=alias.name,
        base_model=alias.base_model,
        input_file_id=origin.input_file_id,
        source=origin.source,
        digest=artifact.version.digest,
        stored_as=id,
        rank=artifact.config.rank,
        size_bytes=artifact.size_bytes,
        fine_tuned_model=fine_tuned_model(alias, artifact.version.digest),
        created_at=int(time.time()),
    )
