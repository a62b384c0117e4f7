"""HTTP face of registered adapters. Groq serves it at `/v1/fine_tunings`, without `/openai`."""

from typing import Annotated

from fastapi import APIRouter, Request

from app.api.fine_tunings.schemas import (
    CreateFineTuningRequest,
    FineTuning,
    FineTuningDeleted,
    FineTuningList,
    FineTuningObject,
)
from app.dependencies import AdapterServiceDep, CallerDep
from app.json_body import json_body
from app.transport import unless_disconnected

router = APIRouter(prefix="/fine_tunings")

Body = Annotated[CreateFineTuningRequest, json_body(CreateFineTuningRequest)]


@router.post("")
async def create(
    request: Request, caller: CallerDep, adapters: AdapterServiceDep, body: Body
) -> FineTuningObject:
    """Register an uploaded adapter; answers once the engine has generated with it."""
    registration = adapters.register(
        caller.org_id,
        name=body.name,
        base_model=body.base_model,
        input_file_id=body.input_file_id,
    )
    return FineTuningObject.of(await unless_disconnected(request.receive, registration))


@router.get("")
async def list_all(caller: CallerDep, adapters: AdapterServiceDep) -> FineTuningList:
    """List the organisation's adapters."""
    rows = await adapters.all_of(caller.org_id)
    return FineTuningList(data=[FineTuning.of(row) for row in rows])


@router.get("/{id}")
async def get(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningObject:
    """Show one adapter."""
    return FineTuningObject.of(await adapters.get(caller.org_id, id))


@router.delete("/{id}")
async def delete(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningDeleted:
    """Delete one adapter; its model id is unknown from now on."""
    await adapters.delete(caller.org_id, id)
    return FineTuningDeleted(id=id)
