"""What a caller may use: every base model of every pool, and the adapters of its organisation."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import ValidationError

from app.adapters.service import AdapterService
from app.api.models.schemas import Model, ModelList
from app.catalog import ModelSpec
from app.db.tables import FineTuningRow
from app.engine.base import Engine, ModelCard
from app.errors import ApiError, invalid_request, model_not_found
from app.pools.directory import NO_POOLS, Pool, PoolDirectory


class Listing(Protocol):
    """Asks other pools what they have."""

    async def ask(self, authorization: str) -> Mapping[Pool, bytes | None]:
        """Return what each pool answers to `GET /v1/models`; None where it does not in time."""
        ...


class ModelsService:
    """Lists, shows and deletes models. `started_at` (Unix s) dates the base models.

    Those of the catalog that could not be started are listed as not active. What an adapter in
    another of `pools` is like, is for that pool to say: showing it raises ServedElsewhere.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        absent: Mapping[str, ModelSpec],
        adapters: AdapterService,
        *,
        started_at: int,
        pools: PoolDirectory = NO_POOLS,
        listing: Listing | None = None,
    ) -> None:
        self._bases = {
            id: _model(engine.card, engine.card.owned_by, started_at)
            for id, engine in engines.items()
        }
        self._absent = {id: _inactive(spec, started_at) for id, spec in absent.items()}
        self._adapters = adapters
        self._started_at = started_at
        self._pools = pools
        self._listing = listing

    async def list(self, org_id: str, authorization: str | None = None) -> ModelList:
        """List base models, then the organisation's adapters, newest first.

        With the caller's `Authorization`, those of other pools too; a pool that cannot be asked
        has its models listed as not active.
        """
        elsewhere = await self._elsewhere(authorization)
        serving = self._bases | {model.id: model for model in elsewhere}
        rows = [version.row for version in await self._adapters.all_of(org_id)]
        adapters = [
            _adapter(row, serving[row.base_model]) for row in rows if row.base_model in serving
        ]
        return ModelList(
            data=[*self._bases.values(), *self._absent.values(), *elsewhere, *adapters]
        )

    async def get(self, org_id: str, model: str) -> Model:
        """Show one. **Raises:** ApiError 404, ServedElsewhere."""
        if base := self._bases.get(model) or self._absent.get(model):
            return base
        self._pools.require_own(model, model)
        row = await self._adapters.get_model(org_id, model)
        self._pools.require_own(row.base_model, model)
        if row.base_model not in self._bases:
            raise model_not_found(model)
        return _adapter(row, self._bases[row.base_model])

    async def delete(self, org_id: str, model: str) -> None:
        """Delete an own adapter of any pool; replicas that serve it see that it is gone.

        **Raises:** ApiError 403 for a base model, else 404.
        """
        if model in self._bases or model in self._absent or model in self._pools.models:
            raise ApiError(
                403, "Base models cannot be deleted.", type="permissions_error", param="model"
            )
        row = await self._adapters.get_model(org_id, model)
        if row.fine_tuned_model != model:
            message = f"`{model}` is an alias: delete its versions by their own ids."
            raise invalid_request(message, param="model")
        await self._adapters.delete(org_id, row.id)

    async def _elsewhere(self, authorization: str | None) -> Sequence[Model]:
        """Return the base models of other pools, in the order of the settings."""
        if self._listing is None or authorization is None:
            return []
        models: list[Model] = []
        for pool, answer in (await self._listing.ask(authorization)).items():
            told = _told(answer)
            models += (told.get(id) or _unknown(id, self._started_at) for id in pool.models)
        return models


def _told(answer: bytes | None) -> dict[str, Model]:
    if answer is None:
        return {}
    try:
        return {model.id: model for model in ModelList.model_validate_json(answer).data}
    except ValidationError:
        return {}


def _unknown(id: str, created: int) -> Model:
    """Show a model of which no more is known than that there should be one."""
    return Model(
        id=id,
        created=created,
        owned_by="system",
        active=False,
        context_window=0,
        max_completion_tokens=0,
    )


def _inactive(spec: ModelSpec, created: int) -> Model:
    window = spec.context_window or 0
    return Model(
        id=spec.id,
        created=created,
        owned_by=spec.owned_by,
        active=False,
        context_window=window,
        max_completion_tokens=spec.max_completion_tokens or window,
    )


def _model(card: ModelCard, owned_by: str, created: int) -> Model:
    return Model(
        id=card.id,
        created=created,
        owned_by=owned_by,
        context_window=card.context_window,
        max_completion_tokens=card.max_completion_tokens,
    )


def _adapter(row: FineTuningRow, base: Model) -> Model:
    """Show an adapter, which can do what its base model can."""
    return Model(
        id=row.fine_tuned_model,
        created=row.created_at,
        owned_by=row.org_id,
        active=base.active,
        context_window=base.context_window,
        max_completion_tokens=base.max_completion_tokens,
    )
