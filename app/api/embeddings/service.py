"""Embeddings without HTTP: from a checked request to the bytes of the answer."""

import asyncio
from collections.abc import Sequence

from app.api.embeddings.embedding_list import embedding_list
from app.api.embeddings.schemas import CreateEmbeddingRequest, EncodingFormat, OneInput
from app.engine.job_text import CHARACTERS_PER_TOKEN
from app.engine.pooling import EmbeddingJob, Vector
from app.inference.context import RequestContext
from app.inference.pooling import Embedding
from app.inference.serving import Inference

NUMBERS_IN_LOOP = 1 << 14
"""Writing more takes longer than other requests should wait: a millisecond."""


class EmbeddingsService:
    """Turns texts and token ids into vectors."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def create(self, context: RequestContext, request: CreateEmbeddingRequest) -> bytes:
        """Embed every input. Cancelling aborts them. **Raises:** ApiError."""
        inputs = request.inputs
        async with self._inference.open(Embedding, context, request.model) as served:
            job = EmbeddingJob(inputs, served.cache_salt)
            prompts = await served.prepare(job, estimated_tokens=sum(map(_estimated, inputs)))
            vectors = await served.pool(prompts)
        tokens = sum(prompt.tokens for prompt in prompts)
        return await _written(vectors, request.encoding_format or "float", served.id, tokens)


def _estimated(one: OneInput) -> int:
    return len(one) // CHARACTERS_PER_TOKEN if isinstance(one, str) else len(one)


async def _written(
    vectors: Sequence[Vector], encoding: EncodingFormat, model: str, tokens: int
) -> bytes:
    if sum(vector.size for vector in vectors) <= NUMBERS_IN_LOOP:
        return embedding_list(vectors, encoding, model=model, tokens=tokens)
    return await asyncio.to_thread(embedding_list, vectors, encoding, model=model, tokens=tokens)
