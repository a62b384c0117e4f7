"""HTTP face of registered adapters. Groq serves it at `/v1/fine_tunings`, without `/openai`.

Paths take any text as an id, so that a model id, which holds a slash, is told to be none.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.fine_tunings.schemas import (
    CreateFineTuningRequest,
    FineTuningDeleted,
    FineTuningList,
    FineTuningObject,
    FineTuningPinDeleted,
    FineTuningWarm,
    PinRequest,
)
from app.dependencies import AdapterServiceDep, CallerDep
from app.json_body import json_body
from app.transport import unless_disconnected

router = APIRouter(prefix="/fine_tunings")

CreateBody = Annotated[CreateFineTuningRequest, json_body(CreateFineTuningRequest)]
PinBody = Annotated[PinRequest, json_body(PinRequest)]
Filter = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")]


@router.post("")
async def create(
    request: Request, caller: CallerDep, adapters: AdapterServiceDep, body: CreateBody
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
async def list_all(
    caller: CallerDep,
    adapters: AdapterServiceDep,
    name: Filter = None,
    base_model: Filter = None,
) -> FineTuningList:
    """List the organisation's versions and what was refused, or those of one name or base."""
    versions = await adapters.all_of(caller.org_id, name=name, base_model=base_model)
    refused = await adapters.refused_of(caller.org_id, name=name, base_model=base_model)
    return FineTuningList.of([*versions, *refused])


@router.get("/{id:path}")
async def get(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningObject:
    """Show one version, or the verdict on a refused one."""
    return FineTuningObject.of(await adapters.get(caller.org_id, id))


@router.post("/{id:path}/activate")
async def activate(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningObject:
    """Have the alias stand for this version from now on."""
    return FineTuningObject.of(await adapters.activate(caller.org_id, id))


@router.post("/{id:path}/warm")
async def warm(
    request: Request, caller: CallerDep, adapters: AdapterServiceDep, id: str
) -> FineTuningWarm:
    """Load a version on the replica that answers, before the first request needs it."""
    loading = adapters.warm(caller.org_id, id)
    return FineTuningWarm.of(id, await unless_disconnected(request.receive, loading))


@router.post("/{id:path}/pin")
async def pin(
    caller: CallerDep, adapters: AdapterServiceDep, id: str, body: PinBody
) -> FineTuningObject:
    """Keep a version loaded on every replica for a time."""
    return FineTuningObject.of(await adapters.pin(caller.org_id, id, seconds=body.seconds))


@router.delete("/{id:path}/pin")
async def unpin(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningPinDeleted:
    """End a pin."""
    await adapters.unpin(caller.org_id, id)
    return FineTuningPinDeleted(id=id)


@router.delete("/{id:path}")
async def delete(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningDeleted:
    """Delete one version; its model id is unknown from now on."""
    await adapters.delete(caller.org_id, id)
    return FineTuningDeleted(id=id)
