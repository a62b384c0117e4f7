"""HTTP face of the models. Ids hold slashes, raw or as `%2F`: the path takes both."""

from fastapi import APIRouter

from app.api.models.schemas import Model, ModelDeleted, ModelList
from app.dependencies import CallerDep, ModelsServiceDep

router = APIRouter(prefix="/models")


@router.get("", operation_id="listModels")
async def list_all(caller: CallerDep, models: ModelsServiceDep) -> ModelList:
    """List what the caller may use."""
    return await models.list(caller.org_id)


@router.get("/{model:path}", operation_id="retrieveModel")
async def get(caller: CallerDep, models: ModelsServiceDep, model: str) -> Model:
    """Show one model."""
    return await models.get(caller.org_id, model)


@router.delete("/{model:path}", operation_id="deleteModel")
async def delete(caller: CallerDep, models: ModelsServiceDep, model: str) -> ModelDeleted:
    """Delete an own adapter."""
    await models.delete(caller.org_id, model)
    return ModelDeleted(id=model)
