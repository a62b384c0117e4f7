"""An embedding or reranking model on vLLM: owns one AsyncLLM and takes numbers out of it.

vLLM pools, normalises and reads from the model's files how; its HTTP layer is not used.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Self

import numpy as np
from vllm.outputs import PoolingRequestOutput

from adapters_registry.host import AdapterHost
from app.catalog import ModelSpec
from app.engine.base import EngineError, ModelCard, Run
from app.engine.metrics import EngineMetrics
from app.engine.pooling import PoolingJob, PoolingPrompt, Vector
from app.engine.pooling_parts import PoolingParts, check_template, furnish
from app.engine.pooling_prompts import PROBES, VllmPoolingPrompt
from app.engine.vllm_args import RENDERER_THREADS
from app.engine.vllm_start import Running, ended, started
from app.engine.vllm_translation import generate_errors


class VllmPoolingEngine:
    """Implements app.engine.pooling.PoolingEngine. Made by `start`, ended by `close`."""

    def __init__(self, running: Running, parts: PoolingParts, metrics: EngineMetrics) -> None:
        self._running = running
        self._llm = running.llm
        self._metrics = metrics
        self._prompts = parts.prompts
        self._card = parts.card
        # Its own: the threads of everybody would be full of long jobs.
        self._threads = ThreadPoolExecutor(RENDERER_THREADS, thread_name_prefix="tokenizer")

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Start the engine of one catalog entry; takes tens of seconds.

        **Raises:** EngineStartError, naming the model.
        """
        check_template(spec)
        running, parts = await started(spec, metrics, furnish)
        return cls(running, parts, metrics)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def adapters(self) -> AdapterHost | None:
        return self._running.adapters

    async def prepare(self, job: PoolingJob) -> Sequence[PoolingPrompt]:
        """Tokenize a job in threads: one prompt for each input or document, in their order.

        **Raises:** InputRefused, PromptRefused, EngineOverloaded.
        """
        loop, prompts = asyncio.get_running_loop(), list[PoolingPrompt]()
        steps = self._prompts.prepare(job)
        # Step by step, so that others have their turns, and nothing is done for who has gone.
        while (step := await loop.run_in_executor(self._threads, next, steps, None)) is not None:
            prompts += step
        return prompts

    async def pool(self, prompt: PoolingPrompt, run: Run) -> Vector:
        """Return an input's numbers; cancelling aborts.

        An embedding is (dim,), a score (1,) within 0 to 1; all are finite. **Raises:** EngineError.
        """
        assert isinstance(prompt, VllmPoolingPrompt), "an engine runs what it prepared itself"
        outputs = self._llm.encode(
            prompt.input,
            prompt.parameters,
            run.request_id,
            lora_request=self._running.request(run.adapter),
            priority=run.priority,
        )
        with generate_errors():
            async with aclosing(outputs):
                async for output in outputs:
                    return self._numbers(output)
        raise EngineError("the engine gave no numbers")

    async def probe(self, run: Run) -> None:
        """Pool one short text. **Raises:** EngineError."""
        (prompt,) = await self.prepare(PROBES[self._card.task])
        await self.pool(prompt, run)

    async def check(self) -> None:
        """Return when the engine process is alive. **Raises:** EngineDead."""
        await self._running.check()

    async def close(self) -> None:
        """End the engine process and its threads; running requests are lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await ended(self._running, self._metrics)

    def _numbers(self, output: PoolingRequestOutput[Any]) -> Vector:
        if output.error is not None:
            raise EngineError("the engine failed to pool")
        # A copy, since the tensor may lie in the buffer of a whole message.
        numbers = np.array(output.outputs.data.float().numpy(), dtype=np.float32)
        if not np.isfinite(numbers).all():
            raise EngineError("the model's numbers are not finite")
        return numbers if self._card.task == "embedding" else _sigmoid(numbers)


def _sigmoid(logits: Vector) -> Vector:
    scores: Vector = np.exp(-np.logaddexp(np.float32(0), -logits))
    return scores
