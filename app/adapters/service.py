"""What an organisation does with its adapters: register, list, activate, pin and delete them."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters import bucket_repository, repository
from app.adapters.intake import AdapterIntake
from app.adapters.names import Alias, is_valid_name
from app.adapters.pins import PinFollower, Warmth
from app.adapters.publisher import AdapterPublisher, Origin
from app.adapters.withdrawals import Withdrawals
from app.db.tables import BucketAdapterRow, FineTuningRow
from app.engine.base import ChatEngine
from app.errors import ApiError, invalid_request, model_not_found, not_found

FINE_TUNING_ID = re.compile(r"ft_[0-9a-z]{26}")
UploadKey = Callable[[str, str], Awaitable[str]]
"""(org_id, file_id) -> object key of an adapter ZIP; raises ApiError for any other file."""

NAME_RULE = (
    "`name` must be 1 to 63 characters of a-z, 0-9 and '-', start and end with a letter or digit, "
    "and not end in '-' and 12 hexadecimal digits"
)


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version; `is_active` when its alias stands for it."""

    row: FineTuningRow
    is_active: bool


class AdapterService:
    """The adapters of all organisations; each call acts for one.

    An id that is unknown, deleted or another organisation's raises the same ApiError 404.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        intake: AdapterIntake,
        publisher: AdapterPublisher,
        withdrawals: Withdrawals,
        pins: PinFollower,
        engines: Mapping[str, ChatEngine],
        upload_key: UploadKey,
    ) -> None:
        self._sessions = sessions
        self._intake = intake
        self._publisher = publisher
        self._withdrawals = withdrawals
        self._pins = pins
        self._engines = engines
        self._upload_key = upload_key

    async def register(
        self, org_id: str, *, name: str, base_model: str, input_file_id: str
    ) -> Version:
        """Check an uploaded adapter, try it on the engine, store it and give it a model id.

        The alias stands for it from now on. The same content under the same name answers with the
        version that is there already. **Raises:** ApiError, InvalidAdapter, StoreError,
        EngineError.
        """
        if not is_valid_name(name):
            raise invalid_request(NAME_RULE, param="name")
        engine = self._lora_engine(base_model)
        key = await self._upload_key(org_id, input_file_id)
        alias, origin = Alias(base_model, org_id, name), Origin(input_file_id=input_file_id)
        async with self._intake.unzipped(key, engine) as artifact:
            row = await self._publisher.publish(alias, artifact, engine, origin)
        return Version(row, is_active=True)

    def _lora_engine(self, base_model: str) -> ChatEngine:
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
        async with self._sessions() as session:
            if (row := await repository.by_id(session, org_id, id)) is not None:
                return Version(row, await repository.is_current(session, row))
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
            if not await repository.activate(session, row):
                raise not_found("fine_tuning", id)
        return Version(row, is_active=True)

    async def warm(self, org_id: str, id: str) -> Warmth:
        """Bring a version into the engine of this replica, before the first request does.

        **Raises:** ApiError, RegistryError, EngineError.
        """
        row = await self._registered(org_id, id)
        self._serving_engine(row)
        return await self._pins.warm(repository.version_of(row))

    async def pin(self, org_id: str, id: str, *, seconds: int) -> Version:
        """Keep a version loaded on every replica for a time, counted from now.

        It is loaded on this replica when this returns, and soon after on the others.
        **Raises:** ApiError, 409 where as many are pinned as the engine's host memory allows;
        RegistryError, EngineError.
        """
        await self.warm(org_id, id)
        async with self._sessions.begin() as session:
            if (row := await repository.by_id(session, org_id, id)) is None:
                raise not_found("fine_tuning", id)
            now = int(time.time())
            others = [p for p in await repository.pinned(session, now=now) if p.id != row.id]
            if sum(other.base_model == row.base_model for other in others) >= self._pin_places(row):
                raise _no_pin_left()
            row.pinned_until = now + seconds
            is_active = await repository.is_current(session, row)
        await self._pins.follow()
        return Version(row, is_active)

    def _pin_places(self, row: FineTuningRow) -> int:
        host = self._serving_engine(row).adapters
        return 0 if host is None else host.capacity - host.slots

    async def unpin(self, org_id: str, id: str) -> None:
        """End a pin; the version stays loaded until others need its place."""
        await self._registered(org_id, id)
        async with self._sessions.begin() as session:
            if (row := await repository.by_id(session, org_id, id)) is None:
                raise not_found("fine_tuning", id)
            row.pinned_until = None
        await self._pins.follow()

    async def delete(self, org_id: str, id: str) -> None:
        """Forget a version: no request finds it once this returns; running ones finish.

        Its alias stands for the version that was active before. Engine, disk and store follow as
        soon as nothing uses it.
        """
        row = await self._registered(org_id, id)
        async with self._sessions.begin() as session:
            if not await repository.remove(session, org_id, id):
                raise not_found("fine_tuning", id)
        self._withdrawals.begin(row)

    def _serving_engine(self, row: FineTuningRow) -> ChatEngine:
        engine = self._engines.get(row.base_model)
        if engine is None or engine.adapters is None:
            raise model_not_found(row.fine_tuned_model)
        return engine

    async def _registered(self, org_id: str, id: str) -> FineTuningRow:
        found = await self.get(org_id, id)
        if not isinstance(found, Version):
            raise not_found("fine_tuning", id)
        return found.row


def _no_pin_left() -> ApiError:
    message = "As many adapters of this base model are pinned as this deployment allows."
    return ApiError(409, message, code="pin_limit_reached")
