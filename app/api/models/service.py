"""What a caller may use: every base model, and the adapters of its own organisation."""

from collections.abc import Mapping

from app.adapters.service import AdapterService
from app.api.models.schemas import Model, ModelList
from app.catalog import ModelSpec
from app.db.tables import FineTuningRow
from app.engine.base import Engine, ModelCard
from app.errors import ApiError, invalid_request, model_not_found


class ModelsService:
    """Lists, shows and deletes models. `started_at` (Unix s) dates the base models.

    Those of the catalog that could not be started are listed as not active.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        absent: Mapping[str, ModelSpec],
        adapters: AdapterService,
        *,
        started_at: int,
    ) -> None:
        self._cards = {id: engine.card for id, engine in engines.items()}
        self._absent = {id: _inactive(spec, started_at) for id, spec in absent.items()}
        self._adapters = adapters
        self._started_at = started_at

    async def list(self, org_id: str) -> ModelList:
        """List base models, then the organisation's adapters, newest first."""
        bases = [*(self._base(card) for card in self._cards.values()), *self._absent.values()]
        rows = [version.row for version in await self._adapters.all_of(org_id)]
        served = [row for row in rows if row.base_model in self._cards]
        return ModelList(data=bases + [self._adapter(row) for row in served])

    async def get(self, org_id: str, model: str) -> Model:
        """Show one. **Raises:** ApiError 404."""
        if card := self._cards.get(model):
            return self._base(card)
        if inactive := self._absent.get(model):
            return inactive
        row = await self._adapters.get_model(org_id, model)
        if row.base_model not in self._cards:
            raise model_not_found(model)
        return self._adapter(row)

    async def delete(self, org_id: str, model: str) -> None:
        """Delete an own adapter. **Raises:** ApiError 403 for a base model, else 404."""
        if model in self._cards or model in self._absent:
            raise ApiError(
                403, "Base models cannot be deleted.", type="permissions_error", param="model"
            )
        row = await self._adapters.get_model(org_id, model)
        if row.fine_tuned_model != model:
            message = f"`{model}` is an alias: delete its versions by their own ids."
            raise invalid_request(message, param="model")
        await self._adapters.delete(org_id, row.id)

    def _base(self, card: ModelCard) -> Model:
        return _model(card, card.id, card.owned_by, self._started_at)

    def _adapter(self, row: FineTuningRow) -> Model:
        card = self._cards[row.base_model]
        return _model(card, row.fine_tuned_model, row.org_id, row.created_at)


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


def _model(card: ModelCard, id: str, owned_by: str, created: int) -> Model:
    return Model(
        id=id,
        created=created,
        owned_by=owned_by,
        context_window=card.context_window,
        max_completion_tokens=card.max_completion_tokens,
    )
