"""The Batches resource over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.batches.schemas import MAX_IDS, MAX_PAGE, BatchList, BatchObject, CreateBatchRequest
from app.dependencies import BatchesServiceDep, CallerDep
from app.errors import invalid_request
from app.idempotency_header import IdempotencyKeyDep
from app.json_body import json_body
from app.pagination import ID
from app.transport import unless_disconnected

router = APIRouter(prefix="/batches")

CreateBody = Annotated[CreateBatchRequest, json_body(CreateBatchRequest)]
Cursor = Annotated[str | None, Query(json_schema_extra={"pattern": f"^{ID.pattern}$"})]
Limit = Annotated[int | None, Query(ge=1, le=MAX_PAGE)]
Ids = Annotated[list[str] | None, Query(json_schema_extra={"maxItems": MAX_IDS})]
IdsInBrackets = Annotated[list[str] | None, Query(alias="id[]", include_in_schema=False)]


@router.post("", operation_id="createBatch")
async def create_batch(
    request: Request,
    caller: CallerDep,
    batches: BatchesServiceDep,
    key: IdempotencyKeyDep,
    body: CreateBody,
) -> BatchObject:
    """Have every line of an uploaded file answered."""
    creation = batches.create(caller, body, key=key)
    return await unless_disconnected(request.receive, creation)


@router.get("", operation_id="listBatches")
async def list_batches(
    caller: CallerDep,
    batches: BatchesServiceDep,
    after: Cursor = None,
    cursor: Cursor = None,
    limit: Limit = None,
    id: Ids = None,
    id_in_brackets: IdsInBrackets = None,
) -> BatchList:
    """List the organisation's batches, newest first, or those of some ids.

    `cursor` and `after` are the same; a page has 20 batches, or as many as there are ids. The groq
    SDK writes a list as one value with commas, the openai SDK as `id[]`, others repeat `id`.
    """
    if after is not None and cursor is not None:
        raise invalid_request("only one of `after` and `cursor` may be given", param="cursor")
    ids = [one for value in id or id_in_brackets or () for one in value.split(",")]
    return await batches.list(caller.org_id, limit=limit, after=after or cursor, ids=ids)


@router.get("/{batch_id}", operation_id="retrieveBatch")
async def get_batch(batch_id: str, caller: CallerDep, batches: BatchesServiceDep) -> BatchObject:
    """Show one batch."""
    return await batches.get(caller.org_id, batch_id)


@router.post("/{batch_id}/cancel", operation_id="cancelBatch")
async def cancel_batch(batch_id: str, caller: CallerDep, batches: BatchesServiceDep) -> BatchObject:
    """End a batch; what is finished is kept."""
    return await batches.cancel(caller.org_id, batch_id)
