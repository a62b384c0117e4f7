"""HTTP face of embeddings."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.embeddings.embedding_list import CreateEmbeddingResponse
from app.api.embeddings.schemas import CreateEmbeddingRequest
from app.dependencies import ContextDep, EmbeddingsServiceDep
from app.json_body import json_body
from app.transport import unless_disconnected

router = APIRouter()

Body = Annotated[CreateEmbeddingRequest, json_body(CreateEmbeddingRequest)]


@router.post("/embeddings", operation_id="createEmbedding", response_model=CreateEmbeddingResponse)
async def create(
    request: Request, context: ContextDep, embeddings: EmbeddingsServiceDep, body: Body
) -> Response:
    """Turn texts, or token ids, into vectors."""
    answer = await unless_disconnected(request.receive, embeddings.create(context, body))
    return Response(answer, media_type="application/json")
