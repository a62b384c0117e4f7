"""HTTP face of the models. Ids hold slashes, raw or as `%2F`: the path takes both."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.api.models.schemas import Model, ModelDeleted, ModelList
from app.dependencies import CallerDep, ModelsServiceDep
from app.pools.headers import is_forwarded

router = APIRouter(prefix="/models")


async def key_for_others(request: Request) -> str | None:
    """Return the caller's `Authorization` to ask other pools with, unless one of them asks."""
    if is_forwarded(request.headers.raw):
        return None
    return request.headers.get("authorization")


@router.get("", operation_id="listModels")
async def list_all(
    caller: CallerDep,
    models: ModelsServiceDep,
    authorization: Annotated[str | None, Depends(key_for_others)],
) -> ModelList:
    """List what the caller may use."""
    return await models.list(caller.org_id, authorization)


@router.get("/{model:path}", operation_id="retrieveModel")
async def get(caller: CallerDep, models: ModelsServiceDep, model: str) -> Model:
    """Show one model."""
    return await models.get(caller.org_id, model)


@router.delete("/{model:path}", operation_id="deleteModel")
async def delete(caller: CallerDep, models: ModelsServiceDep, model: str) -> ModelDeleted:
    """Delete an own adapter."""
    await models.delete(caller.org_id, model)
    return ModelDeleted(id=model)
