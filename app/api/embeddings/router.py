"""HTTP face of embeddings."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.embeddings.embedding_list import CreateEmbeddingResponse, EmbeddingList
from app.api.embeddings.schemas import CreateEmbeddingRequest
from app.dependencies import ContextDep, EmbeddingsServiceDep
from app.json_body import json_body
from app.transport import ChunkedStream, unless_disconnected

router = APIRouter()

Body = Annotated[CreateEmbeddingRequest, json_body(CreateEmbeddingRequest)]


@router.post("/embeddings", operation_id="createEmbedding", response_model=CreateEmbeddingResponse)
async def create(
    request: Request, context: ContextDep, embeddings: EmbeddingsServiceDep, body: Body
) -> Response:
    """Turn texts, or token ids, into vectors."""
    answer = await unless_disconnected(request.receive, embeddings.create(context, body))
    if answer.is_large:
        return ChunkedStream(_as_it_is_read(answer), media_type="application/json")
    return Response(b"".join(answer.pieces()), media_type="application/json")


async def _as_it_is_read(answer: EmbeddingList) -> AsyncGenerator[bytes, None]:
    """Yield the pieces, with a turn for other requests between them."""
    for piece in answer.pieces():
        yield piece
        await asyncio.sleep(0)
