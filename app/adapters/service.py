"""Registering, listing and deleting adapters: the one place that changes their rows.

The registration and the removal of the same content never overlap in one process, so a row always
has its artifact.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import AdapterVersion, Artifact, Digest
from app.adapters import repository
from app.adapters.locks import KeyedLocks
from app.adapters.names import Alias, fine_tuned_model, is_valid_name
from app.adapters.publisher import AdapterPublisher
from app.db.tables import FineTuningRow
from app.engine.base import ChatEngine
from app.errors import invalid_request, model_not_found, not_found, overloaded
from app.ids import new_id

log = structlog.get_logger()

FINE_TUNING_ID = re.compile(r"ft_[0-9a-z]{26}")
UploadKey = Callable[[str, str], Awaitable[str]]
"""(org_id, file_id) -> object key of an adapter ZIP; raises ApiError for any other file."""

CONTENT_WAIT_SECONDS = 20.0
STILL_IN_USE = "A deleted adapter with the same content is still in use; try again later."
NAME_RULE = (
    "`name` must be 1 to 63 characters of a-z, 0-9 and '-', start and end with a letter or digit, "
    "and not end in '-' and 12 hexadecimal digits"
)


class AdapterService:
    """The adapters of all organisations; each call acts for one."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        publisher: AdapterPublisher,
        engines: Mapping[str, ChatEngine],
        upload_key: UploadKey,
    ) -> None:
        self._sessions = sessions
        self._publisher = publisher
        self._engines = engines
        self._upload_key = upload_key
        self._contents = KeyedLocks()
        self._removals: set[asyncio.Task[None]] = set()

    async def register(
        self, org_id: str, *, name: str, base_model: str, input_file_id: str
    ) -> FineTuningRow:
        """Validate an uploaded adapter, try it on the engine, store it and give it a model id.

        The same content under the same name answers with the version that is there already.
        **Raises:** ApiError, InvalidAdapter, StoreError, EngineError.
        """
        if not is_valid_name(name):
            raise invalid_request(NAME_RULE, param="name")
        engine, key = self._lora_engine(base_model), await self._upload_key(org_id, input_file_id)
        assert engine.adapters is not None
        alias = Alias(base_model, org_id, name)
        async with (
            self._publisher.validated(key, base_model, engine.adapters) as artifact,
            self._alone_with(artifact.version.digest),
        ):
            if row := await self._registered(alias, artifact):
                return row
            await self._publisher.publish(artifact, engine)
            return await self._insert(_row(alias, input_file_id, artifact))

    @asynccontextmanager
    async def _alone_with(self, digest: Digest) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                hold = self._contents.hold(digest, wait_seconds=CONTENT_WAIT_SECONDS)
                await stack.enter_async_context(hold)
            except TimeoutError:
                raise overloaded(STILL_IN_USE, retry_after_seconds=5) from None
            yield

    def _lora_engine(self, base_model: str) -> ChatEngine:
        engine = self._engines.get(base_model)
        if engine is None or engine.adapters is None:
            bases = sorted(id for id, known in self._engines.items() if known.adapters)
            message = f"`base_model` must be one of the models that take adapters: {bases}"
            raise invalid_request(message, param="base_model", code="base_model_unknown")
        return engine

    async def _registered(self, alias: Alias, artifact: Artifact) -> FineTuningRow | None:
        model = fine_tuned_model(alias, artifact.version.digest)
        async with self._sessions() as session:
            row = await repository.by_model(session, alias.org_id, model)
        if row is not None and row.digest != artifact.version.digest:
            raise InvalidAdapter("digest_collision", "Another version has the same 12 digits.")
        return row

    async def _insert(self, row: FineTuningRow) -> FineTuningRow:
        try:
            async with self._sessions.begin() as session:
                await repository.insert(session, row)
            return row
        except IntegrityError:
            # Another replica registered the same content in the meantime.
            async with self._sessions() as session:
                other = await repository.by_model(session, row.org_id, row.fine_tuned_model)
            if other is None:
                raise
            return other

    async def get(self, org_id: str, id: str) -> FineTuningRow:
        """Find a version by its `ft_` id. **Raises:** ApiError 404."""
        row = None
        if FINE_TUNING_ID.fullmatch(id):
            async with self._sessions() as session:
                row = await repository.by_id(session, org_id, id)
        if row is None:
            raise not_found("fine_tuning", id)
        return row

    async def get_model(self, org_id: str, model: str) -> FineTuningRow:
        """Find a version by its model id or alias. **Raises:** ApiError 404."""
        async with self._sessions() as session:
            row = await repository.by_name(session, org_id, model)
        if row is None:
            raise model_not_found(model)
        return row

    async def all_of(self, org_id: str) -> Sequence[FineTuningRow]:
        """List an organisation's versions, newest first."""
        async with self._sessions() as session:
            return await repository.all_of(session, org_id)

    async def delete(self, org_id: str, id: str) -> None:
        """Forget a version: no request finds it once this returns; running ones finish.

        The artifact goes when nothing uses it any more. **Raises:** ApiError 404.
        """
        row = await self.get(org_id, id)
        async with self._sessions.begin() as session:
            if not await repository.remove(session, org_id, id):
                raise not_found("fine_tuning", id)
        removal = asyncio.create_task(self._withdraw_unused(row))
        self._removals.add(removal)
        removal.add_done_callback(self._removed)

    async def _withdraw_unused(self, row: FineTuningRow) -> None:
        version = AdapterVersion(Digest(row.digest), row.base_model)
        async with self._contents.hold(row.digest):
            async with self._sessions() as session:
                if await repository.references(session, row.digest):
                    return
            await self._publisher.withdraw(version)

    def _removed(self, removal: asyncio.Task[None]) -> None:
        self._removals.discard(removal)
        if not removal.cancelled() and (error := removal.exception()):
            log.error("artifact not removed", exc_info=error)

    async def close(self) -> None:
        """Stop removals that still wait for running requests."""
        for removal in list(self._removals):
            removal.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)


def _row(alias: Alias, input_file_id: str, artifact: Artifact) -> FineTuningRow:
    return FineTuningRow(
        id=new_id("ft"),
        org_id=alias.org_id,
        name=alias.name,
        base_model=alias.base_model,
        input_file_id=input_file_id,
        digest=artifact.version.digest,
        rank=artifact.config.rank,
        size_bytes=artifact.size_bytes,
        fine_tuned_model=fine_tuned_model(alias, artifact.version.digest),
        created_at=int(time.time()),
    )
