"""A request to a chat model: prompts become deltas of text, thoughts and tool calls."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from app.engine.base import (
    AnswerUnreadable,
    ChatEngine,
    Delta,
    EngineDead,
    EngineError,
    Job,
    Prompt,
    Usage,
)
from app.engine.job_text import estimated_tokens
from app.inference.serving import Served
from app.usage.types import Amounts


class Generation(Served):
    """A chat model, opened to one request."""

    task = "chat"
    field = "messages"

    async def prepare(self, job: Job) -> Prompt:
        """Render a job and reserve its tokens; once in a request. **Raises:** ApiError."""
        (prompt,) = await self.prepare_all([job])
        return prompt

    async def prepare_all(self, jobs: Sequence[Job]) -> list[Prompt]:
        """Render several jobs and reserve their tokens together. **Raises:** ApiError."""
        prompts = [await self._render(job) for job in jobs]
        await self.reserve(sum(map(_most_tokens, jobs, prompts)))
        return prompts

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yield the engine's deltas, the last one always with its outcome. To be closed.

        **Raises:** ApiError, and nothing else that an engine or the registry raises.
        """
        async with self.running(prompt.tokens) as run:
            # The engine's contract lets its iterator be closed, which AsyncIterator cannot say.
            deltas = cast(AsyncGenerator[Delta, None], self._engine.generate(prompt, run))
            # Closed here: left to the garbage collector, it would count after the settlement.
            async with aclosing(deltas), aclosing(self._metered(prompt, deltas)) as metered:
                async for delta in metered:
                    yield delta

    @property
    def _engine(self) -> ChatEngine:
        return cast(ChatEngine, self._model.engine)

    async def _render(self, job: Job) -> Prompt:
        with self.preparing(estimated_tokens(job)):
            return await self._engine.prepare(job)

    async def _metered(
        self, prompt: Prompt, deltas: AsyncGenerator[Delta, None]
    ) -> AsyncGenerator[Delta, None]:
        label, observer, tokens = self.card.id, self._ports.observer, 0
        awaited, finished, failed = True, False, False
        try:
            async for delta in deltas:
                tokens += delta.tokens
                if awaited and self.tier != "batch":  # how long a line waits is nobody's concern
                    self._first_token(self._first_token_seconds(delta))
                    awaited = False
                if (usage := delta.usage) is not None and delta.finish_reason is not None:
                    finished = True
                    observer.generated(label, usage)
                    self._use(_amounts(usage))
                    yield delta
                    return
                yield delta
            raise EngineDead("the engine stopped without an outcome")
        except EngineError as error:
            failed = not isinstance(error, AnswerUnreadable)
            raise
        finally:
            if not finished:
                observer.abandoned(label, prompt.tokens, tokens)
                if not failed:
                    self._use(Amounts(prompt_tokens=prompt.tokens, completion_tokens=tokens))

    def _first_token_seconds(self, delta: Delta) -> float:
        """Seconds from arrival; an answer that comes whole took its generation time on top."""
        later = delta.usage.completion_seconds if delta.usage else 0.0
        return max(time.perf_counter() - self._started - later, 0.0)


def _amounts(usage: Usage) -> Amounts:
    return Amounts(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _most_tokens(job: Job, prompt: Prompt) -> int:
    return prompt.tokens + (0 if job.sampling.max_tokens is None else prompt.max_tokens)
