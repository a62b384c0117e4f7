"""Loading before the first request does: once, or for as long as the database says."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import RegistryError
from adapters_registry.host import AdapterHost
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import Tier
from app.adapters import repository
from app.db.locks import lock_transaction
from app.db.tables import FineTuningRow
from app.engine.base import EngineError
from app.errors import ApiError, not_found

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Warmth:
    """Where a version's weights were found, and how long it took to have them in the engine."""

    tier: Tier
    seconds: float


class Pins:
    """The pins of all organisations, and this replica's part in them.

    `hosts` are the base models that this replica serves with adapters.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        registry: AdapterRegistry,
        hosts: Mapping[str, AdapterHost],
        *,
        per_organization: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._hosts = hosts
        self._per_organization = per_organization
        self._clock = clock
        self._following = asyncio.Lock()

    async def warm(self, row: FineTuningRow) -> Warmth:
        """Load a version on this replica. **Raises:** RegistryError, EngineError."""
        async with self._registry.lease(repository.version_of(row)) as lease:
            return Warmth(lease.tier, lease.wait_seconds)

    async def pin(self, row: FineTuningRow, *, seconds: int) -> FineTuningRow:
        """Keep a version loaded on every replica for a time, counted from now.

        It is loaded on this replica when this returns, and soon after on the others.
        **Raises:** ApiError, 409 where no more may be pinned; RegistryError, EngineError.
        """
        await self.warm(row)
        async with self._sessions.begin() as session:
            await lock_transaction(session, f"pins of {row.base_model}")
            now = int(self._clock())
            self._check_room(row, await repository.pinned(session, row.base_model, now=now))
            pinned = await repository.pin(session, row, now + seconds)
        if pinned is None:
            raise not_found("fine_tuning", row.id)
        await self.follow()
        return pinned

    async def unpin(self, row: FineTuningRow) -> None:
        """End a pin; the version stays loaded until others need its place."""
        async with self._sessions.begin() as session:
            if await repository.pin(session, row, None) is None:
                raise not_found("fine_tuning", row.id)
        await self.follow()

    async def follow(self) -> None:
        """End pins that are over and load what is pinned; what fails is left for the next time."""
        async with self._following:
            async with self._sessions() as session:
                now = int(self._clock())
                rows = [
                    row
                    for base_model in self._hosts
                    for row in await repository.pinned(session, base_model, now=now)
                ]
            wanted = [repository.version_of(row) for row in rows]
            for version in set(self._registry.pins).difference(wanted):
                self._registry.unpin(version)
            for version in wanted:
                try:
                    await self._registry.pin(version)
                except (RegistryError, EngineError) as error:
                    log.warning("pin failed", digest=version.digest, error=type(error).__name__)

    def _check_room(self, row: FineTuningRow, pinned: list[FineTuningRow]) -> None:
        host = self._hosts[row.base_model]
        others = [other for other in pinned if other.id != row.id]
        own = sum(other.org_id == row.org_id for other in others)
        if own >= self._per_organization:
            raise _limit_reached(f"{own} adapters of {row.base_model} for your organization")
        if len(others) >= host.capacity - host.slots:
            raise _limit_reached(f"{len(others)} adapters of {row.base_model}")


def _limit_reached(pinned: str) -> ApiError:
    message = f"This deployment keeps {pinned} pinned already, as many as it may; unpin one first."
    return ApiError(409, message, code="pin_limit_reached")
