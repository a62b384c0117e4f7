"""What an organisation does with its adapters: register, list, activate, pin and delete them."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters import bucket_repository, repository
from app.adapters.intake import AdapterIntake
from app.adapters.locks import KeyedLocks
from app.adapters.names import NAME_RULE, Alias, is_valid_name
from app.adapters.pins import Pins, Warmth
from app.adapters.publisher import AdapterPublisher, Origin
from app.adapters.withdrawals import Withdrawals
from app.db.tables import BucketAdapterRow, FineTuningRow
from app.engine.base import Engine
from app.errors import ApiError, invalid_request, model_not_found, not_found, overloaded
from app.idempotency.claim import Claim
from app.idempotency.creates import KeyedCreates
from app.idempotency.request import CreateRequest
from app.pools.directory import NO_POOLS, PoolDirectory

log = structlog.get_logger()

FINE_TUNING_ID = re.compile(r"ft_[0-9a-z]{26}")
UploadKey = Callable[[str, str], Awaitable[str]]
"""(org_id, file_id) -> object key of an adapter ZIP; raises ApiError for any other file."""

TURN_SECONDS = 60.0
"""How long a registration waits for others of its organisation."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version; `is_active` when its alias stands for it."""

    row: FineTuningRow
    is_active: bool


class AdapterService:
    """The adapters of all organisations; each call acts for one.

    An id that is unknown, deleted or another organisation's raises the same ApiError 404.
    What needs an engine that one of `pools` has raises ServedElsewhere; all else is done here.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        intake: AdapterIntake,
        publisher: AdapterPublisher,
        withdrawals: Withdrawals,
        pins: Pins,
        engines: Mapping[str, Engine],
        upload_key: UploadKey,
        pools: PoolDirectory = NO_POOLS,
    ) -> None:
        self._sessions = sessions
        self._intake = intake
        self._publisher = publisher
        self._withdrawals = withdrawals
        self._pins = pins
        self._engines = engines
        self._upload_key = upload_key
        self._pools = pools
        self._registering = KeyedLocks()
        self._creates = KeyedCreates(sessions)

    async def register(
        self,
        org_id: str,
        *,
        name: str,
        base_model: str,
        input_file_id: str,
        key: str | None = None,
    ) -> Version:
        """Check an uploaded adapter, try it on the engine, store it and give it a model id.

        The alias stands for it from now on. The same content under the same name answers with the
        version that is there already. An organisation's registrations follow one another. An
        idempotency key registers once and then answers with that version, as it is by then.
        **Raises:** ApiError, InvalidAdapter, StoreError, EngineError.
        """
        if not is_valid_name(name):
            raise invalid_request(f"`name` {NAME_RULE}", param="name", code="name_invalid")
        engine = self._lora_engine(base_model)
        alias = Alias(base_model, org_id, name)
        return await self._creates.once(
            CreateRequest.of(org_id, key, "POST /fine_tunings", base_model, name, input_file_id),
            partial(self._register, alias, engine, input_file_id),
            partial(self._find, org_id),
        )

    async def _register(
        self, alias: Alias, engine: Engine, input_file_id: str, claim: Claim
    ) -> Version:
        org_id, origin = alias.org_id, Origin(input_file_id=input_file_id)
        key = await self._upload_key(org_id, input_file_id)
        async with (
            self._turn_of(org_id),
            self._intake.unzipped(key, engine) as artifact,
        ):
            row = await self._publisher.publish(alias, artifact, engine, origin, claim)
        log.info("adapter registered", org_id=org_id, id=row.id, model=row.fine_tuned_model)
        return Version(row, is_active=True)

    @asynccontextmanager
    async def _turn_of(self, org_id: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                turn = self._registering.hold(org_id, wait_seconds=TURN_SECONDS)
                await stack.enter_async_context(turn)
            except TimeoutError:
                message = "Other registrations of your organization take long; try again later."
                raise overloaded(message, retry_after_seconds=10) from None
            yield

    def _lora_engine(self, base_model: str) -> Engine:
        self._pools.require_own(base_model, base_model)
        engine = self._engines.get(base_model)
        if engine is None or engine.adapters is None:
            bases = sorted(id for id, known in self._engines.items() if known.adapters)
            message = f"`base_model` must be one of the models that take adapters: {bases}"
            raise invalid_request(message, param="base_model", code="base_model_unknown")
        return engine

    async def get(self, org_id: str, id: str) -> Version | BucketAdapterRow:
        """Find a version by its `ft_` id, or an adapter in the bucket that was refused."""
        if not FINE_TUNING_ID.fullmatch(id):
            raise not_found("fine_tuning", id)
        if (version := await self._find(org_id, id)) is not None:
            return version
        async with self._sessions() as session:
            refused = await bucket_repository.refused_by_id(session, org_id, id)
        if refused is None:
            raise not_found("fine_tuning", id)
        return refused

    async def get_model(self, org_id: str, model: str) -> FineTuningRow:
        """Find a version by its model id or alias."""
        async with self._sessions() as session:
            row = await repository.by_name(session, org_id, model)
        if row is None:
            raise model_not_found(model)
        return row

    async def all_of(
        self, org_id: str, *, name: str | None = None, base_model: str | None = None
    ) -> Sequence[Version]:
        """List an organisation's versions, newest first: all, or those of one name or base."""
        async with self._sessions() as session:
            rows = await repository.all_of(session, org_id, name=name, base_model=base_model)
        active: dict[tuple[str, str], FineTuningRow] = {}
        for row in sorted(rows, key=lambda row: (row.activation, row.id)):
            active[row.base_model, row.name] = row
        return [Version(row, active[row.base_model, row.name] is row) for row in rows]

    async def refused_of(
        self, org_id: str, *, name: str | None = None, base_model: str | None = None
    ) -> Sequence[BucketAdapterRow]:
        """List the organisation's refused adapters in the bucket, as `all_of` does versions."""
        async with self._sessions() as session:
            return await bucket_repository.refused_of(
                session, org_id, name=name, base_model=base_model
            )

    async def activate(self, org_id: str, id: str) -> Version:
        """Have the alias stand for this version, say to go back to an earlier one.

        It moves in one step: each request sees the one version or the other.
        """
        row = await self._registered(org_id, id)
        async with self._sessions.begin() as session:
            activated = await repository.activate(session, row)
        if activated is None:
            raise not_found("fine_tuning", id)
        log.info("adapter activated", org_id=org_id, id=id, model=row.fine_tuned_model)
        return Version(activated, is_active=True)

    async def warm(self, org_id: str, id: str) -> Warmth:
        """Bring a version into the engine of this replica, before the first request does.

        **Raises:** ApiError, RegistryError, EngineError.
        """
        return await self._pins.warm(await self._served(org_id, id))

    async def pin(self, org_id: str, id: str, *, seconds: int) -> Version:
        """Keep a version loaded on every replica for a time, counted from now.

        **Raises:** ApiError, 409 where no more may be pinned; RegistryError, EngineError.
        """
        row = await self._pins.pin(await self._served(org_id, id), seconds=seconds)
        log.info("adapter pinned", org_id=org_id, id=id, until=row.pinned_until)
        async with self._sessions() as session:
            return Version(row, await repository.is_current(session, row))

    async def unpin(self, org_id: str, id: str) -> None:
        """End a pin; the version stays loaded until others need its place."""
        await self._pins.unpin(await self._registered(org_id, id))
        log.info("adapter unpinned", org_id=org_id, id=id)

    async def delete(self, org_id: str, id: str) -> None:
        """Forget a version: no request finds it once this returns; running ones finish.

        Its alias stands for the version that was active before. Engine, disk and store follow as
        soon as nothing uses it.
        """
        row = await self._registered(org_id, id)
        async with self._sessions.begin() as session:
            if not await repository.remove(session, org_id, id):
                raise not_found("fine_tuning", id)
        log.info("adapter deleted", org_id=org_id, id=id, model=row.fine_tuned_model)
        self._withdrawals.begin(row)

    async def _find(self, org_id: str, id: str) -> Version | None:
        async with self._sessions() as session:
            row = await repository.by_id(session, org_id, id)
            if row is None:
                return None
            return Version(row, await repository.is_current(session, row))

    async def _served(self, org_id: str, id: str) -> FineTuningRow:
        row = await self._registered(org_id, id)
        self._pools.require_own(row.base_model, row.fine_tuned_model)
        engine = self._engines.get(row.base_model)
        if engine is None or engine.adapters is None:
            raise model_not_found(row.fine_tuned_model)
        return row

    async def _registered(self, org_id: str, id: str) -> FineTuningRow:
        found = await self.get(org_id, id)
        if isinstance(found, Version):
            return found.row
        message = f"This adapter was refused; mend or remove it in the bucket, at {found.source}"
        raise ApiError(409, message, code="adapter_refused", param="id")
