"""Requests to models that turn text into numbers: embeddings and relevance scores."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, takewhile
from typing import cast

import numpy as np

from app.engine.base import EngineError, Run, Usage
from app.engine.pooling import PoolingEngine, PoolingJob, PoolingPrompt, Vector
from app.inference.serving import Served
from app.usage.types import Amounts

SHARE = 4
"""One request runs at most this part, a quarter, of what its engine runs at once."""

NOISE = 1e-3
"""How far rounding may carry a score out of 0 to 1."""


class Pooling(Served):
    """A model that pools, opened to one request."""

    async def prepare(self, job: PoolingJob, *, estimated_tokens: int) -> Sequence[PoolingPrompt]:
        """Tokenize a job's inputs and reserve their tokens; once in a request.

        **Raises:** ApiError, naming the input that cannot be taken.
        """
        with self.preparing(estimated_tokens):
            prompts = await self._engine.prepare(job)
        await self.reserve(sum(prompt.tokens for prompt in prompts))
        return prompts

    async def pool(self, prompts: Sequence[PoolingPrompt]) -> list[Vector]:
        """Return the numbers of every input, in order: finite, and scores within 0 to 1.

        The request holds one place; of its inputs, a bounded number run at a time. Cancelling
        aborts them, and so does the first that fails. **Raises:** ApiError.
        """
        at_once, tokens = self._at_once(prompts)
        vectors: dict[int, Vector] = {}
        waiting = iter(enumerate(prompts))

        async def work(run: Run) -> None:
            for number, prompt in waiting:
                vector = await self._engine.pool(prompt, run.part(number))
                vectors[number] = self._checked(vector)

        async with self.running(tokens) as run:
            with self._metered(prompts, vectors):
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(at_once):
                            group.create_task(work(run))
                except ExceptionGroup as failures:
                    raise failures.exceptions[0] from None
        return [vectors[number] for number in range(len(prompts))]

    @property
    def _engine(self) -> PoolingEngine:
        return cast(PoolingEngine, self._model.engine)

    def _at_once(self, prompts: Sequence[PoolingPrompt]) -> tuple[int, int]:
        """Return how many inputs run at a time, and the most tokens that these have together."""
        most = max(1, self.card.max_running // SHARE)
        longest = sorted((prompt.tokens for prompt in prompts), reverse=True)[:most]
        share = self.card.cache_tokens // SHARE
        # One runs alone, however long it is.
        held = list(takewhile(lambda total: total <= share, accumulate(longest))) or longest[:1]
        return len(held), held[-1]

    def _checked(self, vector: Vector) -> Vector:
        if not np.isfinite(vector).all():
            raise EngineError("the model's numbers are not finite")
        return vector

    @contextmanager
    def _metered(
        self, prompts: Sequence[PoolingPrompt], vectors: Mapping[int, Vector]
    ) -> Iterator[None]:
        failed = False
        try:
            yield
        except EngineError:
            failed = True
            raise
        finally:
            tokens = sum(prompts[number].tokens for number in vectors)
            # What the server fails at is not charged, though a part of it ran.
            if not failed:
                self._use(Amounts(prompt_tokens=tokens))
            self._ports.observer.generated(self.card.id, Usage(tokens, 0, 0, 0.0, 0.0, 0.0))


class Embedding(Pooling):
    """An embedding model."""

    task = "embedding"
    field = "input"


class Reranking(Pooling):
    """A reranking model."""

    task = "reranking"
    field = "docs"

    def _checked(self, vector: Vector) -> Vector:
        score = super()._checked(vector)
        if (score < -NOISE).any() or (score > 1 + NOISE).any():
            raise EngineError("the model's score is not within 0 to 1")
        return score.clip(0, 1)
