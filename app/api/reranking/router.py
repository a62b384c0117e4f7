"""HTTP face of reranking."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.reranking.schemas import RerankingRequest, RerankingResponse
from app.dependencies import ContextDep, RerankingServiceDep
from app.json_body import json_body
from app.transport import unless_disconnected

router = APIRouter()

Body = Annotated[RerankingRequest, json_body(RerankingRequest)]


@router.post("/reranking", operation_id="createReranking", response_model=RerankingResponse)
async def create(
    request: Request, context: ContextDep, reranking: RerankingServiceDep, body: Body
) -> Response:
    """Order documents by their relevance to a query."""
    answer = await unless_disconnected(request.receive, reranking.rank(context, body))
    return Response(answer.json_bytes(), media_type="application/json")
