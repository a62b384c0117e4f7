"""A scripted pooling engine, and inference round it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from app.engine.base import EngineDead, EngineError, Run
from app.engine.pooling import EmbeddingJob, PoolingJob, PoolingPrompt, Vector
from tests.app.inference.stubs import CARD, Surroundings

PoolingTask = Literal["embedding", "reranking"]
Given = str | tuple[int, ...]


@dataclass(frozen=True)
class StubPoolingPrompt:
    """An input that counts as tokenized; a text has a token for each character."""

    given: Given

    @property
    def tokens(self) -> int:
        return len(self.given)


class StubPoolingEngine:
    """Gives each input the numbers, the error or the wait that stand for it; else ones."""

    adapters = None

    def __init__(self, task: PoolingTask) -> None:
        self.card = replace(CARD, task=task)
        self.answers: Mapping[Given, Sequence[float] | Exception | asyncio.Event] = {}
        self.refusal: EngineError | None = None
        self.jobs: list[PoolingJob] = []
        self.runs: list[Run] = []
        self.running = 0
        self.most_running = 0
        self.aborted = 0
        self.waiting = asyncio.Event()
        self._changed = asyncio.Event()

    async def prepare(self, job: PoolingJob) -> list[StubPoolingPrompt]:
        self.jobs.append(job)
        if self.refusal is not None:
            raise self.refusal
        inputs = job.inputs if isinstance(job, EmbeddingJob) else job.docs
        return [
            StubPoolingPrompt(each if isinstance(each, str) else tuple(each)) for each in inputs
        ]

    async def pool(self, prompt: PoolingPrompt, run: Run) -> Vector:
        assert isinstance(prompt, StubPoolingPrompt)
        self.runs.append(run)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self._changed.set()
        try:
            # Others that may run beside it get the chance to begin.
            await asyncio.sleep(0)
            return await self._answer(prompt.given)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.running -= 1
            self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until a run that begins or ends brings that about."""
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    async def _answer(self, given: Given) -> Vector:
        answer = self.answers.get(given, [1.0])
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            self.waiting.set()
            await answer.wait()
            answer = [1.0]
        return np.array(answer, np.float32)

    async def probe(self, run: Run) -> None:
        raise EngineDead

    async def check(self) -> None:
        return None


class PoolingRig(Surroundings):
    """Inference with a scripted engine of one kind."""

    def __init__(self, task: PoolingTask) -> None:
        self.engine = StubPoolingEngine(task)
        super().__init__(self.engine)
