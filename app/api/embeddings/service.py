"""Embeddings without HTTP: from a checked request to the answer, ready to be written."""

from app.api.embeddings.embedding_list import EmbeddingList
from app.api.embeddings.schemas import CreateEmbeddingRequest, OneInput
from app.engine.job_text import CHARACTERS_PER_TOKEN
from app.engine.pooling import EmbeddingJob
from app.inference.context import RequestContext
from app.inference.pooling import Embedding
from app.inference.serving import Inference


class EmbeddingsService:
    """Turns texts and token ids into vectors."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def create(
        self, context: RequestContext, request: CreateEmbeddingRequest
    ) -> EmbeddingList:
        """Embed every input. Cancelling aborts them. **Raises:** ApiError."""
        inputs = request.inputs
        async with self._inference.open(Embedding, context, request.model) as served:
            job = EmbeddingJob(inputs, served.cache_salt)
            prompts = await served.prepare(job, estimated_tokens=sum(map(_estimated, inputs)))
            vectors = await served.pool(prompts)
        tokens = sum(prompt.tokens for prompt in prompts)
        return EmbeddingList(vectors, request.encoding_format or "float", served.id, tokens)


def _estimated(one: OneInput) -> int:
    return len(one) // CHARACTERS_PER_TOKEN if isinstance(one, str) else len(one)
