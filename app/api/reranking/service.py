"""Reranking without HTTP: from a checked request to scored documents."""

from app.api.reranking.schemas import RerankingRequest, RerankingResponse, RerankingResult
from app.engine.job_text import CHARACTERS_PER_TOKEN
from app.engine.pooling import RerankingJob
from app.inference.context import RequestContext
from app.inference.pooling import Reranking
from app.inference.serving import Inference


class RerankingService:
    """Orders documents by their relevance to a query."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def rank(self, context: RequestContext, request: RerankingRequest) -> RerankingResponse:
        """Score every document, the best first; equal ones keep the caller's order.

        Cancelling aborts them. **Raises:** ApiError.
        """
        estimated_tokens = request.characters // CHARACTERS_PER_TOKEN
        async with self._inference.open(Reranking, context, request.model) as served:
            job = RerankingJob(request.query, request.docs, served.cache_salt, request.instruction)
            prompts = await served.prepare(job, estimated_tokens=estimated_tokens)
            scores = [float(score[0]) for score in await served.pool(prompts)]
        results = [
            RerankingResult(doc=doc, score=score)
            for doc, score in zip(request.docs, scores, strict=True)
        ]
        # Sorting is stable, also in reverse.
        results.sort(key=lambda result: result.score, reverse=True)
        return RerankingResponse(results=results)
