"""Loading before the first request does: once, or for as long as the database says."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import RegistryError
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import AdapterVersion, Tier
from app.adapters import repository
from app.engine.base import EngineError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Warmth:
    """Where a version's weights were found, and how long it took to have them in the engine."""

    tier: Tier
    seconds: float


class PinFollower:
    """Brings one replica's pins in line with the rows; `base_models` are those it serves."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        registry: AdapterRegistry,
        base_models: Collection[str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._base_models = base_models
        self._clock = clock

    async def warm(self, version: AdapterVersion) -> Warmth:
        """Load a version once. **Raises:** RegistryError, EngineError."""
        async with self._registry.lease(version) as lease:
            return Warmth(lease.tier, lease.wait_seconds)

    async def follow(self) -> None:
        """End pins that are over and load what is pinned; what fails is left for the next time."""
        async with self._sessions() as session:
            rows = await repository.pinned(session, now=int(self._clock()))
        wanted = [repository.version_of(row) for row in rows if row.base_model in self._base_models]
        for version in set(self._registry.pins).difference(wanted):
            self._registry.unpin(version)
        for version in wanted:
            try:
                await self._registry.pin(version)
            except (RegistryError, EngineError) as error:
                log.warning("pin failed", digest=version.digest, error=type(error).__name__)
