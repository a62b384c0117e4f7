"""From the `model` of a request to what answers it; the database decides, on every request."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.types import AdapterVersion
from app.adapters import repository
from app.engine.base import Engine
from app.errors import model_not_found, model_not_started
from app.pools.directory import NO_POOLS, PoolDirectory


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What answers a request: a base model's engine and, for `ft:` ids, one adapter version.

    `id` is the immutable id, also where the caller used an alias.
    """

    id: str
    engine: Engine
    version: AdapterVersion | None = None


class ModelResolver:
    """Resolves model ids for one organisation at a time.

    `absent` are the models of the catalog that could not be started, `pools` where others are.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        sessions: async_sessionmaker[AsyncSession],
        absent: Collection[str] = (),
        pools: PoolDirectory = NO_POOLS,
    ) -> None:
        self._engines = engines
        self._sessions = sessions
        self._absent = absent
        self._pools = pools

    async def resolve(self, org_id: str, model: str) -> ResolvedModel:
        """Find the engine and adapter of a model.

        **Raises:** ApiError 404 `model_not_found`, alike for unknown, deleted and foreign ids; 503
        for a model that could not be started. ServedElsewhere, before anything is counted.
        """
        if model in self._absent:
            raise model_not_started(model)
        if engine := self._engines.get(model):
            return ResolvedModel(model, engine)
        self._pools.require_own(model, model)
        async with self._sessions() as session:
            row = await repository.by_name(session, org_id, model)
        if row is not None and row.base_model in self._absent:
            raise model_not_started(row.base_model)
        if row is not None:
            self._pools.require_own(row.base_model, model)
        engine = self._engines.get(row.base_model) if row else None
        if row is None or engine is None or engine.adapters is None:
            raise model_not_found(model)
        return ResolvedModel(row.fine_tuned_model, engine, repository.version_of(row))
