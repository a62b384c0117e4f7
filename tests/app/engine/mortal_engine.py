"""Engines that die when they are told to, and whose successors start or fail as a test says."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from adapters_registry.host import AdapterHost
from adapters_registry.testing import RecordingHost
from app.engine.base import EngineDead, EngineStartError, ModelCard, Run
from app.engine.factory import RunningEngine
from app.engine.supervised import SupervisedEngine


class MortalEngine:
    """One life of an engine. Its host may be told not to answer, as that of a dead engine does."""

    languages: Sequence[str] = ("en",)

    def __init__(self, id: str, life: int) -> None:
        self.card = ModelCard(id, "system", 64, 64, f"fp_{life}")
        self.life = life
        self.host = RecordingHost(2, slots=1)
        self.adapters: AdapterHost | None = self.host
        self.is_dead = False
        self.is_closed = False

    async def prepare(self, job: str) -> str:
        return f"{job} in life {self.life}"

    async def generate(self, prompt: str, run: Run) -> AsyncIterator[str]:
        yield prompt

    async def probe(self, run: Run) -> None:
        await self.check()

    async def check(self) -> None:
        if self.is_dead:
            raise EngineDead("gone")

    async def close(self) -> None:
        assert not self.is_closed, "an engine is ended once"
        self.is_closed = True


class Lives:
    """All engines of one model, the latest last. `may_start` holds starts up, `failures` fail."""

    def __init__(self, id: str = "model") -> None:
        self.all = [MortalEngine(id, 1)]
        self.engine = SupervisedEngine(id, self.all[0], self._next)
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.failures = 0
        self.starts = 0

    def kill(self) -> None:
        """Have the engine that runs die."""
        self.all[-1].is_dead = True

    async def _next(self) -> RunningEngine:
        self.starts += 1
        await self.may_start.wait()
        if self.failures:
            self.failures -= 1
            raise EngineStartError(f"model {self.engine.id}: no memory")
        self.all.append(MortalEngine(self.engine.id, len(self.all) + 1))
        return self.all[-1]
