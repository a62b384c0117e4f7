"""HTTP face of responses."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi import Response as HttpResponse

from app.api.responses.response import Response
from app.api.responses.schemas import ResponseRequest
from app.dependencies import ContextDep, ResponsesServiceDep
from app.json_body import json_body
from app.openapi import or_stream
from app.transport import EventStream, unless_disconnected

router = APIRouter(prefix="/responses")

INFERENCE_METRICS = "inference-metrics"

Body = Annotated[ResponseRequest, json_body(ResponseRequest)]
Beta = Annotated[str, Header(alias="groq-beta")]


@router.post("", operation_id="createResponse", responses=or_stream(Response))
async def create(
    request: Request,
    context: ContextDep,
    responses: ResponsesServiceDep,
    body: Body,
    beta: Beta = "",
) -> HttpResponse:
    """Answer an input, whole or as a stream of events."""
    wants_metrics = INFERENCE_METRICS in {feature.strip() for feature in beta.split(",")}
    if body.stream:
        begin = responses.stream(context, body, wants_metrics=wants_metrics)
        return EventStream(await unless_disconnected(request.receive, begin))
    work = responses.complete(context, body, wants_metrics=wants_metrics)
    answer = await unless_disconnected(request.receive, work)
    return HttpResponse(answer.json_bytes(), media_type="application/json")
