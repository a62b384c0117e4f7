"""HTTP face of legacy completions."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.completions.completion import Completion
from app.api.completions.schemas import CompletionRequest
from app.dependencies import CompletionsServiceDep, ContextDep
from app.json_body import json_body
from app.openapi import or_stream
from app.transport import EventStream, unless_disconnected

router = APIRouter()

Body = Annotated[CompletionRequest, json_body(CompletionRequest)]


@router.post("/completions", operation_id="createCompletion", responses=or_stream(Completion))
async def create(
    request: Request, context: ContextDep, completions: CompletionsServiceDep, body: Body
) -> Response:
    """Continue texts, whole or as a stream of chunks."""
    if body.stream:
        begin = completions.stream(context, body)
        return EventStream(await unless_disconnected(request.receive, begin))
    answer = await unless_disconnected(request.receive, completions.complete(context, body))
    return Response(answer.json_bytes(), media_type="application/json")
