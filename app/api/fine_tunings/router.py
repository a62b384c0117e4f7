"""HTTP face of registered adapters. Groq serves it at `/v1/fine_tunings`, without `/openai`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.fine_tunings.schemas import (
    CreateFineTuningRequest,
    FineTuningDeleted,
    FineTuningList,
    FineTuningObject,
    FineTuningPinDeleted,
    FineTuningWarm,
    ListFilters,
    PinRequest,
)
from app.dependencies import AdapterServiceDep, CallerDep
from app.errors import not_found
from app.idempotency_header import IdempotencyKeyDep
from app.json_body import json_body
from app.transport import unless_disconnected

router = APIRouter(prefix="/fine_tunings")

CreateBody = Annotated[CreateFineTuningRequest, json_body(CreateFineTuningRequest)]
PinBody = Annotated[PinRequest, json_body(PinRequest, if_empty=b"{}")]
FiltersDep = Annotated[ListFilters, Query()]


@router.post("", operation_id="createFineTuning")
async def create(
    request: Request,
    caller: CallerDep,
    adapters: AdapterServiceDep,
    key: IdempotencyKeyDep,
    body: CreateBody,
) -> FineTuningObject:
    """Register an uploaded adapter; answers once the engine has generated with it."""
    registration = adapters.register(
        caller.org_id,
        name=body.name,
        base_model=body.base_model,
        input_file_id=body.input_file_id,
        key=key,
    )
    return FineTuningObject.of(await unless_disconnected(request.receive, registration))


@router.get("", operation_id="listFineTunings")
async def list_all(
    caller: CallerDep, adapters: AdapterServiceDep, filters: FiltersDep
) -> FineTuningList:
    """List the organisation's versions and what was refused, or those of one name or base."""
    asked = filters.model_dump()
    versions = await adapters.all_of(caller.org_id, **asked)
    refused = await adapters.refused_of(caller.org_id, **asked)
    return FineTuningList.of([*versions, *refused])


@router.api_route("/ft:{rest:path}", methods=["GET", "POST", "DELETE"], include_in_schema=False)
async def no_version(caller: CallerDep, rest: str) -> None:
    """Tell that a model id, whose slashes no other path takes, is the id of no version."""
    raise not_found("fine_tuning", f"ft:{rest}")


@router.get("/{id}", operation_id="getFineTuning")
async def get(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningObject:
    """Show one version, or the verdict on a refused one."""
    return FineTuningObject.of(await adapters.get(caller.org_id, id))


@router.post("/{id}/activate", operation_id="activateFineTuning")
async def activate(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningObject:
    """Have the alias stand for this version from now on."""
    return FineTuningObject.of(await adapters.activate(caller.org_id, id))


@router.post("/{id}/warm", operation_id="warmFineTuning")
async def warm(
    request: Request, caller: CallerDep, adapters: AdapterServiceDep, id: str
) -> FineTuningWarm:
    """Load a version on the replica that answers, before the first request needs it."""
    loading = adapters.warm(caller.org_id, id)
    return FineTuningWarm.of(id, await unless_disconnected(request.receive, loading))


@router.post("/{id}/pin", operation_id="pinFineTuning")
async def pin(
    caller: CallerDep, adapters: AdapterServiceDep, id: str, body: PinBody
) -> FineTuningObject:
    """Keep a version loaded on every replica for a time."""
    return FineTuningObject.of(await adapters.pin(caller.org_id, id, seconds=body.seconds))


@router.delete("/{id}/pin", operation_id="unpinFineTuning")
async def unpin(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningPinDeleted:
    """End a pin."""
    await adapters.unpin(caller.org_id, id)
    return FineTuningPinDeleted(id=id)


@router.delete("/{id}", operation_id="deleteFineTuning")
async def delete(caller: CallerDep, adapters: AdapterServiceDep, id: str) -> FineTuningDeleted:
    """Delete one version; its model id is unknown from now on."""
    await adapters.delete(caller.org_id, id)
    return FineTuningDeleted(id=id)
